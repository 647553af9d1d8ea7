//! A ledger under a policy of the test's own, and the people around it.

use serde_json::{Value, json};

use crate::scene::{Scene, case, holds, hours_ahead, init, with, writ, writ_reading};

/// A ledger under a policy, with the keys of further people.
pub(crate) struct Desk(pub(crate) Scene);

impl Desk {
    /// A ledger under this bundle. It trusts the producer as agent-1 and the approver as approver-1, of acme.
    pub(crate) fn under(bundle: &Value) -> Desk {
        let scene = Scene::bare();
        let bundle = scene.policy(bundle.to_string());
        writ(init(scene.data()).into_iter().chain(["--policy", &bundle])).ended(0);
        Desk(scene)
    }

    /// Puts another bundle in force.
    pub(crate) fn activate(&self, bundle: &Value) {
        let bundle = self.0.policy(bundle.to_string());
        writ(["policy", "activate", "--data", self.0.data(), &bundle]).ended(0);
    }

    /// A new key of this principal of acme; its file.
    pub(crate) fn trust(&self, file: &str, principal: &str, role: &str) -> String {
        let path = self.0.dir.path().join(file).to_string_lossy().into_owned();
        let key = writ(["key", "new", &path]).ended(0).out;
        let data = self.0.data();
        let who = ["--tenant", "acme", "--principal", principal, "--role", role];
        writ(["key", "trust", "--data", data, key.trim()].iter().chain(&who)).ended(0);
        path
    }

    /// Registers an approval; its digest.
    pub(crate) fn approval(&self, key: &str, more: &[&str]) -> String {
        let add = ["evidence", "add", "--data", self.0.data(), "--tenant", "acme", "--kind", "approval", "--key", key];
        let answer = writ(add.iter().chain(more)).ended(0).json();
        answer["evidence"].as_str().expect("a digest").to_owned()
    }

    /// The code of the decision of an intent.
    pub(crate) fn ask(&self, id: &str, action: &str, session: Option<&str>, evidence: &[&str]) -> String {
        self.ask_with(id, action, json!({}), session, evidence)
    }

    /// The same with args.
    pub(crate) fn ask_with(
        &self,
        id: &str,
        action: &str,
        args: Value,
        session: Option<&str>,
        evidence: &[&str],
    ) -> String {
        let mut intent = json!({"tenant": "acme", "id": id, "principal": "agent-1", "action": action, "args": args,
                                "expires_at": hours_ahead(1)});
        if !evidence.is_empty() {
            intent = with(intent, "evidence", json!(evidence));
        }
        if let Some(session) = session {
            intent = with(intent, "session", json!(session));
        }
        self.submit(&intent, &[]);
        self.code(id)
    }

    /// Submits an intent, whatever comes of it.
    pub(crate) fn submit(&self, intent: &Value, more: &[&str]) {
        let submit = ["submit", "--data", self.0.data()];
        writ_reading(intent.to_string().as_bytes(), submit.iter().chain(more));
    }

    /// What became of an id.
    pub(crate) fn case(&self, id: &str) -> Value {
        case(self.0.data(), "acme", id).unwrap_or_else(|_| {
            // Where somebody serves it, he is to be asked.
            writ(["show", "--json", "--data", self.0.data(), "acme", id]).ended(0).json()
        })
    }

    /// The latest decision of an id.
    pub(crate) fn decision(&self, id: &str) -> Value {
        self.case(id)["decision"]["event"]["payload"].clone()
    }

    /// Its code.
    pub(crate) fn code(&self, id: &str) -> String {
        self.decision(id)["code"].as_str().expect("a code").to_owned()
    }

    /// Grants or refuses what waits under an id, with the key of this file.
    pub(crate) fn answer(&self, word: &str, id: &str, key: &str) -> crate::scene::Run {
        writ(["approvals", word, "--data", self.0.data(), "acme", id, "--reason", "a test", "--key", key])
    }

    /// The same about the rule in force, whichever asked.
    pub(crate) fn answer_anew(&self, word: &str, id: &str, key: &str) -> crate::scene::Run {
        let waiting = writ(["approvals", "list", "--json", "--data", self.0.data()]).ended(0).lines();
        let waits = waiting.iter().find(|it| it["id"] == id).expect("it waits");
        let rule = waits["asks_now"]["rule"].as_str().expect("a digest");
        let answer = ["approvals", word, "--data", self.0.data(), "acme", id, "--reason", "a test", "--key", key];
        writ(answer.iter().chain(&["--rule", rule]))
    }

    /// Everything that was decided follows from the log, for whoever looks.
    pub(crate) fn holds(&self) {
        holds(self.0.data());
    }
}

/// The file of the ledger's own approver.
pub(crate) fn approver(desk: &Desk) -> String {
    desk.0.inside("keys/approver.key").to_string_lossy().into_owned()
}
