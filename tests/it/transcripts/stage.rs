//! The ledger of a transcript and the people around it: what each line does through the binary, and what it finds.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Map, Value, json};
use writ::clock::Stopwatch;
use writ_log::Reader;
use writ_schemas::event::EventKind;
use writ_schemas::ids::{Seq, UnixMicros};
use writ_schemas::intent::Intent;

use super::policy::Policy;
use super::words::{fits, micros};
use crate::scene::{Run, Scene, Served, WRIT, case, finish, holds_or, hours_ahead, init};
use crate::service::Service;
use crate::shift::Shift;

/// How long a served ledger may take until it has done what follows by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// Entries that speak of the log itself come by themselves.
const OF_THE_LOG: [EventKind; 3] = [EventKind::CheckpointSigned, EventKind::StateHashed, EventKind::TailCut];

/// Whether a line was one of these words, and how it went.
pub(super) type Taken = Option<Result<(), String>>;

struct Person {
    tenant: String,
    /// The files of their keys, and the keys.
    keys: Vec<(String, String)>,
}

/// What somebody submitted under an id.
#[derive(Clone)]
struct Sent {
    who: String,
    id: String,
    tenant: String,
    line: String,
    key: String,
}

/// A transcript while it is played.
pub(super) struct Stage {
    pub(super) policy: Policy,
    scene: Scene,
    /// The clock of every process, where time was told to pass.
    shift: Option<Shift>,
    passed: u64,
    founded: bool,
    served: Option<Served>,
    people: BTreeMap<String, Person>,
    evidence: BTreeMap<String, String>,
    /// What was submitted and not refused, in its order.
    sent: Vec<Sent>,
    /// What the last intent was answered with.
    answer: Value,
    /// A refusal that no line has spoken of.
    refused: Option<String>,
    entries_before: usize,
    told_to_serve: bool,
}

impl Stage {
    pub(super) fn new() -> Stage {
        Stage {
            policy: Policy::nothing(),
            scene: Scene::bare(),
            shift: None,
            passed: 0,
            founded: false,
            served: None,
            people: BTreeMap::new(),
            evidence: BTreeMap::new(),
            sent: Vec::new(),
            answer: Value::Null,
            refused: None,
            entries_before: 0,
            told_to_serve: false,
        }
    }

    /// What is so before anything happens.
    pub(super) fn given(&mut self, text: &str) -> Taken {
        if text == "the ledger is served" {
            self.told_to_serve = true;
            return Some(Ok(()));
        }
        if text == "the ledger makes one call at a time" {
            return Some(self.configured("connector_calls_max = 1\n"));
        }
        let person = if let Some([who]) = fits("{} is a stranger", text) {
            self.person(who, "acme", None)
        } else if let Some([who, role]) = fits("{} is a {}", text).or(fits("{} is an {}", text)) {
            self.person(who, "acme", Some(role))
        } else if let Some([who, role, tenant]) = fits("{} is a {} of {}", text).or(fits("{} is an {} of {}", text)) {
            self.person(who, tenant, Some(role))
        } else if let Some([who, role]) = fits("{} has a second key as {}", text) {
            match self.people.contains_key(who) {
                true => self.person(who, "acme", Some(role)),
                false => Err(format!("nobody said who {who} is")),
            }
        } else {
            let taken = self.policy.take(text)?;
            let late = || Err("the policy comes before the people".to_owned());
            return Some(if self.founded { late() } else { taken });
        };
        Some(person)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(WRIT);
        if let Some(shift) = &self.shift {
            shift.give(&mut command);
        }
        command
    }

    fn writ<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        self.writ_reading(b"", args)
    }

    fn writ_reading<S: AsRef<OsStr>>(&self, input: &[u8], args: impl IntoIterator<Item = S>) -> Run {
        finish(self.command().args(args), input)
    }

    fn now(&self) -> UnixMicros {
        hours_ahead(0).plus(self.passed)
    }

    /// Lets time pass. A process that serves notices a clock that was set, so beside it there is nothing but to wait. Where none
    /// does, the clock is set and what the ledger remembers of it is removed, as on a machine that was off.
    fn pass(&mut self, micros: u64) {
        if self.served.is_some() || cfg!(not(target_os = "linux")) {
            return std::thread::sleep(Duration::from_micros(micros));
        }
        self.passed += micros;
        let shift = self.shift.get_or_insert_with(|| Shift::new(self.scene.dir.path().join("by")));
        shift.set(i64::try_from(self.passed).expect("a few days"));
        let _ = std::fs::remove_file(self.scene.inside("clock")); // there is none before the first command
    }

    fn found(&mut self) -> Result<(), String> {
        if !self.founded {
            let bundle = self.scene.policy(self.policy.bundle.to_string());
            good(self.writ(init(self.scene.data()).into_iter().chain(["--policy", &bundle])))?;
            self.founded = true;
        }
        Ok(())
    }

    fn configured(&mut self, text: &str) -> Result<(), String> {
        self.found()?;
        self.scene.configure(text);
        Ok(())
    }

    fn person(&mut self, who: &str, tenant: &str, role: Option<&str>) -> Result<(), String> {
        self.found()?;
        let known = self.people.get(who).map_or(0, |person| person.keys.len());
        let file = self.scene.dir.path().join(format!("{who}-{known}.key")).to_string_lossy().into_owned();
        let key = good(self.writ(["key", "new", &file]))?.out.trim().to_owned();
        if let Some(role) = role {
            let who = ["--tenant", tenant, "--principal", who, "--role", role];
            good(self.writ(["key", "trust", "--data", self.scene.data(), &key].iter().chain(&who)))?;
        }
        let person =
            self.people.entry(who.to_owned()).or_insert(Person { tenant: tenant.to_owned(), keys: Vec::new() });
        person.keys.push((file, key));
        Ok(())
    }

    /// What somebody does.
    pub(super) fn when(&mut self, text: &str) -> Taken {
        if let Err(why) = self.heard() {
            return Some(Err(why));
        }
        let ready = self.found().and_then(|()| {
            if self.told_to_serve && self.served.is_none() {
                self.served = Some(Served::by(self.command(), Path::new(self.scene.data())));
            }
            self.entries_before = self.entries()?;
            Ok(())
        });
        if let Err(why) = ready {
            return Some(Err(why));
        }
        Some(if let Some([who, what]) = fits("{} asks to ...", text) {
            self.ask(who, what)
        } else if let Some([who, id]) = fits("{} sends {} again", text) {
            self.again(who, id)
        } else if let Some([who, kind, name]) =
            fits("{} signs an {}, called {}", text).or(fits("{} signs a {}, called {}", text))
        {
            self.sign((who, 0), kind, None, name)
        } else if let Some([who, kind, name]) = fits("{} signs an {} with the second key, called {}", text)
            .or(fits("{} signs a {} with the second key, called {}", text))
        {
            self.sign((who, 1), kind, None, name)
        } else if let Some([who, kind, rest]) = fits("{} signs an {} to ...", text) {
            match rest.rsplit_once(", called ") {
                Some((what, name)) => self.sign((who, 0), kind, Some(what), name),
                None => Err("what is it called?".to_owned()),
            }
        } else if let Some([who, id]) = fits("{} grants {}", text) {
            self.vote("grant", who, id, 0)
        } else if let Some([who, id]) = fits("{} grants {} with the second key", text) {
            self.vote("grant", who, id, 1)
        } else if let Some([who, id]) = fits("{} refuses {}", text) {
            self.vote("refuse", who, id, 0)
        } else if let Some([what]) = fits("the operators freeze {}", text) {
            self.freeze("freeze", what)
        } else if let Some([what]) = fits("the operators thaw {}", text) {
            self.freeze("thaw", what)
        } else if let Some([who]) = fits("the operators revoke the key of {}", text) {
            let key = self.key(who, 0).map(|(_, key)| key.clone());
            key.and_then(|key| good(self.writ(["key", "revoke", "--data", self.scene.data(), &key])).map(drop))
        } else if let Some([id]) = fits("the operators find that {} happened", text) {
            self.reconcile(id, "--applied")
        } else if let Some([id]) = fits("the operators find that {} never happened", text) {
            self.reconcile(id, "--not-applied")
        } else if let Some([clause]) = fits("the policy changes: ...", text) {
            self.change(clause)?
        } else if let Some([count, unit]) = fits("{} {} pass", text).or(fits("{} {} passes", text)) {
            micros(count, unit).map(|micros| self.pass(micros))
        } else if text == "the service is called" {
            let calls = self.policy.service.as_ref().map(|service| service.was_called(1));
            calls.filter(|called| *called).map(drop).ok_or_else(|| "no call comes".to_owned())
        } else if text == "the service is told to answer" {
            let service = self.policy.service.as_ref().ok_or_else(|| "there is no service".to_owned());
            service.map(Service::answer)
        } else if text == "the process is killed and started again" {
            match self.served.take() {
                Some(served) => {
                    drop(served);
                    self.served = Some(Served::by(self.command(), Path::new(self.scene.data())));
                    Ok(())
                }
                None => Err("the ledger is not served".to_owned()),
            }
        } else {
            return None;
        })
    }

    /// A refusal that nobody speaks of is an error of the transcript.
    pub(super) fn heard(&mut self) -> Result<(), String> {
        self.refused.take().map_or(Ok(()), |what| Err(format!("it was refused, and no Then says so: {what}")))
    }

    fn key(&self, who: &str, at: usize) -> Result<&(String, String), String> {
        let person = self.people.get(who).ok_or_else(|| format!("nobody said who {who} is"))?;
        person.keys.get(at).ok_or_else(|| format!("{who} has no such key"))
    }

    fn ask(&mut self, who: &str, what: &str) -> Result<(), String> {
        let (asked, more) = what.split_once(", ").map_or((what, None), |(asked, more)| (asked, Some(more)));
        let (effect, id) = asked.rsplit_once(" as ").ok_or("under which id?")?;
        let (action, args) = effect_of(effect)?;
        let (file, _) = self.key(who, 0)?.clone();
        let tenant = self.people.get(who).map(|person| person.tenant.clone()).unwrap_or_default();
        let mut intent = json!({"tenant": tenant, "id": id, "principal": who, "action": action, "args": args,
                                "expires_at": self.now().plus(3_600_000_000)});
        for one in more.into_iter().flat_map(|more| more.split(", ")) {
            if let Some([session]) = fits("in session {}", one) {
                intent["session"] = json!(session);
            } else if let Some([principal]) = fits("in the name of {}", one) {
                intent["principal"] = json!(principal);
            } else if let Some([count, unit]) = fits("which expires in {} {}", one) {
                intent["expires_at"] = json!(self.now().plus(micros(count, unit)?));
            } else if let Some([count, unit]) = fits("which expired {} {} ago", one) {
                intent["expires_at"] = json!(UnixMicros(self.now().0 - micros(count, unit)?));
            } else if let Some([names]) = fits("showing ...", one) {
                let found = names.split(" and ").map(|name| self.evidence.get(name).cloned().ok_or(name));
                let found = found.collect::<Result<Vec<String>, &str>>();
                intent["evidence"] = json!(found.map_err(|name| format!("nobody signed {name}"))?);
            } else {
                return Err(format!("nothing is known of: {one}"));
            }
        }
        self.send(Sent { who: who.to_owned(), id: id.to_owned(), tenant, line: intent.to_string(), key: file })
    }

    fn again(&mut self, who: &str, id: &str) -> Result<(), String> {
        let before = self.sent.iter().rfind(|sent| sent.who == who && sent.id == id);
        let before = before.cloned().ok_or_else(|| format!("{who} did not ask as {id}"))?;
        self.send(before)
    }

    /// What was last submitted under an id.
    fn sent(&self, id: &str) -> Result<&Sent, String> {
        self.sent.iter().rfind(|sent| sent.id == id).ok_or_else(|| format!("nobody asked as {id}"))
    }

    fn send(&mut self, sent: Sent) -> Result<(), String> {
        let submit = ["submit", "--json", "--data", self.scene.data(), "--key", &sent.key];
        let run = self.writ_reading(sent.line.as_bytes(), submit);
        let answer = run.out.lines().next().and_then(|line| serde_json::from_str::<Value>(line).ok());
        self.answer = answer.ok_or_else(|| format!("no answer: {}", run.err))?;
        if self.answer["answer"] == "refused" {
            self.refused = Some(format!("{} {}", text(&self.answer["code"]), text(&self.answer["detail"])));
        } else {
            self.sent.push(sent);
        }
        Ok(())
    }

    fn sign(&mut self, (who, key): (&str, usize), kind: &str, about: Option<&str>, name: &str) -> Result<(), String> {
        let file = &self.key(who, key)?.0;
        let tenant = &self.people[who].tenant;
        let mut add = vec!["evidence", "add", "--data", self.scene.data(), "--tenant", tenant, "--kind", kind];
        let effect = about.map(|what| effect_of(what).and_then(|(action, args)| digest(&action, &args))).transpose()?;
        add.extend(effect.iter().flat_map(|digest| ["--effect", digest]));
        add.extend(["--key", file]);
        let run = good(self.writ(add))?;
        let answer: Value = serde_json::from_str(run.out.trim()).map_err(|e| e.to_string())?;
        self.evidence.insert(name.to_owned(), text(&answer["evidence"]));
        Ok(())
    }

    fn vote(&mut self, word: &str, who: &str, id: &str, key: usize) -> Result<(), String> {
        let tenant = self.sent(id)?.tenant.clone();
        let file = &self.key(who, key)?.0;
        let data = self.scene.data();
        // Who answers has looked at what waits, and at the rule in force.
        let listed = good(self.writ(["approvals", "list", "--json", "--data", data]))?.lines();
        let waits = listed.iter().find(|it| it["id"] == id);
        let rule = waits.and_then(|it| it["asks_now"]["rule"].as_str());
        let mut answer =
            vec!["approvals", word, "--data", data, &tenant, id, "--reason", "a transcript", "--key", file];
        answer.extend(rule.into_iter().flat_map(|rule| ["--rule", rule]));
        let run = self.writ(answer);
        self.refused =
            run.err.lines().find(|line| line.contains("ERR_APPROV") && run.out.is_empty()).map(str::to_owned);
        if run.out.is_empty() && self.refused.is_none() { Err(format!("no answer: {}", run.err)) } else { Ok(()) }
    }

    fn freeze(&self, word: &str, what: &str) -> Result<(), String> {
        let mut act = vec![word, "--data", self.scene.data()];
        act.extend((word == "freeze").then_some(["--reason", "a transcript"]).into_iter().flatten());
        act.extend((what != "everything").then_some(["--tenant", what]).into_iter().flatten());
        good(self.writ(act)).map(drop)
    }

    fn reconcile(&self, id: &str, how: &str) -> Result<(), String> {
        let case = self.case(id)?;
        let receipt = text(&case["receipts"][0]["event"]["digest"]);
        good(self.writ(["reconcile", "--data", self.scene.data(), how, &receipt])).map(drop)
    }

    fn change(&mut self, clause: &str) -> Taken {
        let taken = self.policy.take(clause)?;
        Some(taken.and_then(|()| {
            let bundle = self.scene.policy(self.policy.bundle.to_string());
            good(self.writ(["policy", "activate", "--data", self.scene.data(), &bundle])).map(drop)
        }))
    }

    /// What must be found.
    pub(super) fn then(&mut self, text: &str) -> Taken {
        if let Some([code]) = fits("that is refused, {}", text) {
            let refused = self.refused.take().ok_or_else(|| "nothing was refused".to_owned());
            return Some(refused.and_then(|found| {
                let word = |c: char| !(c.is_ascii_uppercase() || c == '_');
                if found.split(word).any(|word| word == code) { Ok(()) } else { Err(found) }
            }));
        }
        let watch = Stopwatch::start();
        loop {
            let found = self.find(text)?;
            // What a served ledger does by itself takes its time; of a command, everything has happened when it ends.
            if found.is_ok() || self.served.is_none() || watch.elapsed() > PATIENCE {
                return Some(found);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn find(&self, words: &str) -> Taken {
        Some(if let Some([what]) = fits("the answer is {}", words) {
            equal(what, &self.answered())
        } else if let Some([verdict, code]) = fits("the answer is {}, {}", words) {
            equal(&format!("{verdict}, {code}"), &self.answered())
        } else if let Some([id, rest]) = fits("the receipt of {} is ...", words) {
            self.receipt(id).and_then(|found| equal(rest, &found))
        } else if let Some([id]) = fits("{} has no receipt", words) {
            self.case(id).and_then(|case| equal("[]", &case["receipts"].to_string()))
        } else if let Some([gate, id]) = fits("no gate after {} is asked about {}", words) {
            self.decision(id).and_then(|decision| refused_at(gate, &decision))
        } else if let Some([id, round]) = fits("{} is decided in round {}", words) {
            self.decision(id).and_then(|decision| equal(round, &decision["round"].to_string()))
        } else if let Some([budget, reserved, spent]) = fits("of {} {} are reserved and {} are spent", words) {
            let expected = format!("{reserved} reserved, {spent} spent");
            self.budget(budget).and_then(|found| equal(&expected, &found))
        } else if words == "the service was called once" {
            equal("1 calls", &self.calls())
        } else if let Some([count]) = fits("the service was called {} times", words) {
            equal(&format!("{count} calls"), &self.calls())
        } else if words == "it is known already" {
            equal("known", &text(&self.answer["answer"]))
        } else if words == "nothing is added to the log" {
            self.entries().and_then(|now| equal(&self.entries_before.to_string(), &now.to_string()))
        } else if let Some([id, verdict]) = fits("{} is {}", words) {
            self.decision(id).and_then(|decision| equal(verdict, &verdict_of(&decision)))
        } else if let Some([id, verdict, code]) = fits("{} is {}, {}", words) {
            self.decision(id).and_then(|decision| equal(&format!("{verdict}, {code}"), &verdict_of(&decision)))
        } else {
            return None;
        })
    }

    /// The ledger as it is, once nobody serves it.
    pub(super) fn leave(mut self) -> (Scene, Option<Service>) {
        self.heard().unwrap_or_else(|why| panic!("{why}"));
        if let Some(served) = self.served.take() {
            served.stop();
        }
        (self.scene, self.policy.service)
    }

    /// The last line: whoever looks finds that everything was decided as the log says.
    pub(super) fn holds(&mut self) -> Result<(), String> {
        self.heard()?;
        if let Some(served) = self.served.take() {
            served.stop();
        }
        holds_or(self.scene.data())
    }

    fn calls(&self) -> String {
        format!("{} calls", self.policy.service.as_ref().map_or(0, Service::calls))
    }

    fn answered(&self) -> String {
        verdict_of(&self.answer["decision"]["payload"])
    }

    fn case(&self, id: &str) -> Result<Value, String> {
        let tenant = &self.sent(id)?.tenant;
        if self.served.is_none() {
            return case(self.scene.data(), tenant, id);
        }
        let run = good(self.writ(["show", "--json", "--data", self.scene.data(), tenant, id]))?;
        serde_json::from_str(run.out.trim()).map_err(|e| e.to_string())
    }

    fn decision(&self, id: &str) -> Result<Value, String> {
        Ok(self.case(id)?["decision"]["event"]["payload"].clone())
    }

    /// `SUCCEEDED and charges 300 cents`, with what of it is overdrawn; a code stands behind the status where it is not `OK`.
    fn receipt(&self, id: &str) -> Result<String, String> {
        let case = self.case(id)?;
        let receipts = case["receipts"].as_array().map_or(&[][..], Vec::as_slice);
        let [receipt] = receipts else { return Ok(format!("one of {} receipts", receipts.len())) };
        let receipt = &receipt["event"]["payload"];
        let usage = match &receipt["usage"] {
            Value::Array(each) => each.clone(),
            Value::Null => Vec::new(),
            one => vec![one.clone()],
        };
        let overdrawn = |it: &Value| it["overdrawn"].as_u64().map(|more| format!(", {more} of them overdrawn"));
        let one = |it: &Value| format!("{} {}{}", it["amount"], text(&it["unit"]), overdrawn(it).unwrap_or_default());
        let charged: Vec<String> = usage.iter().map(one).collect();
        let charged = if charged.is_empty() { "nothing".to_owned() } else { charged.join(" and ") };
        let status = text(&receipt["status"]);
        match &*text(&receipt["code"]) {
            "OK" => Ok(format!("{status} and charges {charged}")),
            code => Ok(format!("{status}, {code}, and charges {charged}")),
        }
    }

    /// What is reserved and spent of a budget, as an intent that spends it would find it.
    fn budget(&self, budget: &str) -> Result<String, String> {
        let rules = self.policy.bundle["rules"].as_array().map_or(&[][..], Vec::as_slice);
        let spends = |rule: &&Value| rule["spends"].to_string().contains(&format!("\"name\":\"{budget}\""));
        let rule = rules.iter().find(spends).ok_or_else(|| format!("nothing spends {budget}"))?;
        let sent = self.sent.first().ok_or("nobody has asked for anything")?;
        let mut intent: Value = serde_json::from_str(&sent.line).map_err(|e| e.to_string())?;
        (intent["id"], intent["action"]) = (json!("what-is-left"), rule["action"].clone());
        let submit = ["submit", "--dry-run", "--json", "--data", self.scene.data(), "--key", &sent.key];
        let run = self.writ_reading(intent.to_string().as_bytes(), submit);
        let answer: Value = serde_json::from_str(run.out.trim()).map_err(|e| format!("{e}: {}", run.err))?;
        let facts = &answer["decision"]["payload"]["facts"]["budget"];
        let each = facts.as_array().map_or(std::slice::from_ref(facts), Vec::as_slice);
        let fact = each.iter().find(|fact| fact["name"] == budget).ok_or_else(|| format!("no {budget} in {answer}"))?;
        Ok(format!("{} reserved, {} spent", fact["reserved"], fact["committed"]))
    }

    fn entries(&self) -> Result<usize, String> {
        let entries = Reader::open(self.scene.inside("log")).and_then(|log| log.entries(Seq(0)));
        let kinds = entries.map_err(|e| e.to_string())?.map(|it| it.map(|it| it.entry.header.kind));
        let kinds = kinds.collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
        Ok(kinds.iter().filter(|kind| !OF_THE_LOG.contains(kind)).count())
    }
}

fn good(run: Run) -> Result<Run, String> {
    if run.status == 0 { Ok(run) } else { Err(format!("{}{}", run.out, run.err)) }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn equal(expected: &str, found: &str) -> Result<(), String> {
    if expected == found { Ok(()) } else { Err(found.to_owned()) }
}

/// `PASS`, or the verdict with its code.
fn verdict_of(decision: &Value) -> String {
    match (&*text(&decision["verdict"]), &*text(&decision["code"])) {
        ("PASS", "OK") => "PASS".to_owned(),
        (verdict, code) => format!("{verdict}, {code}"),
    }
}

fn refused_at(gate: &str, decision: &Value) -> Result<(), String> {
    let gates = decision["gates"].as_array().map_or(&[][..], Vec::as_slice);
    let at = gates.iter().position(|it| it["gate"] == gate).ok_or_else(|| format!("no gate {gate}"))?;
    let (before, after) = gates.split_at(at);
    let silent = after.iter().skip(1).all(|it| it["answer"] == "not_reached");
    let asked = before.iter().all(|it| it["answer"] != "not_reached" && it["answer"] != "refused");
    let refused = matches!(after[0]["answer"].as_str(), Some("refused" | "asks"));
    if silent && asked && refused { Ok(()) } else { Err(decision["gates"].to_string()) }
}

/// `pay 300 cents`: an action and its args.
fn effect_of(words: &str) -> Result<(String, Value), String> {
    let mut words = words.split(' ');
    let action = words.next().filter(|word| !word.is_empty()).ok_or("what is asked for?")?;
    let mut args = Map::new();
    while let Some(value) = words.next() {
        let name = words.next().ok_or_else(|| format!("{value} of what?"))?;
        let value: Value = serde_json::from_str(value).map_err(|_| format!("{value} is no value"))?;
        args.insert(name.to_owned(), value);
    }
    Ok((action.to_owned(), Value::Object(args)))
}

fn digest(action: &str, args: &Value) -> Result<String, String> {
    let intent = json!({"tenant": "x", "id": "x", "principal": "x", "action": action, "args": args, "expires_at": 1});
    let intent: Intent = serde_json::from_value(intent).map_err(|e| e.to_string())?;
    Ok(intent.effect_digest().map_err(|e| e.to_string())?.to_string())
}
