//! One story read as a tree, and what must hold of every graph.

use proptest::prelude::*;
use writ_schemas::act::Statement;
use writ_schemas::entry::Entry;
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::ids::{Digest, Seq};
use writ_schemas::receipt::Status;
use writ_schemas::strict::Refusal;

use super::{Graph, Limits, NodeKind, Parent, ProofGraph, Relation, Standing};
use crate::conformance::ledger::{self, Run, Writer, cents, name};
use crate::follower::Follower;
use crate::store::MemoryStore;

fn graph_of(log: &[Entry]) -> MemoryStore {
    let store = MemoryStore::default();
    let (mut follower, _) = Follower::open(ProofGraph, store, log[0].header.ledger, |_| None).expect("opens");
    follower.apply_all(log).expect("folds");
    follower.into_store()
}

fn events(log: &[Entry]) -> impl Fn(Seq) -> Result<Event, Refusal> {
    |seq| log[usize::try_from(seq.0).expect("small")].event()
}

fn run(agent: usize, status: Status, evidence: &[(Seq, Digest)]) -> Run<'_> {
    Run { agent, action: "refund", spends: vec![cents(5)], status, evidence }
}

fn seqs(graph: &super::Subgraph) -> Vec<u64> {
    graph.nodes.keys().map(|seq| seq.0).collect()
}

/// 6 evidence; 7 intent, 8 decision, 9 dispatch, 10 receipt; 11, 12, 13, 14 the next in the session, uncertain; 15 its
/// reconciliation; 16 and 17 checkpoints.
fn story() -> Writer {
    let mut writer = Writer::new(7);
    let evidence = writer.evidence("approval");
    writer.run(&run(0, Status::Succeeded, &[evidence]));
    let uncertain = writer.run(&run(0, Status::Uncertain, &[]));
    writer.reconcile(uncertain, true);
    writer.checkpoint();
    writer.checkpoint();
    writer
}

#[test]
fn the_proof_of_a_receipt_reads_as_a_tree() {
    let log = story().entries;
    let (store, events) = (graph_of(&log), events(&log));
    let graph = Graph::new(&store, &events);
    let tree = graph.tree(Seq(10), Limits::default()).expect("reads").expect("a node");
    let agent = writ_schemas::keys::SecretKey::from_seed(&[10; 32]).id().to_string();
    let anna = writ_schemas::keys::SecretKey::from_seed(&[12; 32]).id().to_string();
    let expected = format!(
        "\
#10 EFFECT SUCCEEDED acme/i-1 refund, 5 cents
└─ authorised by #8 ATTESTATION PASS acme/i-1
   ├─ answers #7 INTENT refund acme/i-1 by agent-7
   ├─ relies on #6 ATTESTATION evidence approval of acme
   │  └─ signed by #3 TRUST_EVENT key {} trusted as anna of acme
   │     └─ rooted in #0 TRUST_EVENT ledger 07070707070707070707070707070707 opened as test.example/writ
   ├─ signed by #1 TRUST_EVENT key {} trusted as agent-7 of acme
   │  └─ rooted in #0 TRUST_EVENT (above)
   └─ under #4 TRUST_EVENT policy first activated
      └─ rooted in #0 TRUST_EVENT (above)
",
        &anna[..20],
        &agent[..20],
    );
    assert_eq!(tree.to_string(), expected);
    let next = graph.tree(Seq(14), Limits::default()).expect("reads").expect("a node").to_string();
    assert!(next.contains("└─ follows #10 EFFECT SUCCEEDED acme/i-1 refund, 5 cents …\n"), "{next}");
    assert_eq!(graph.tree(Seq(9), Limits::default()).expect("reads"), None, "a dispatch is no node");
}

#[test]
fn a_later_round_stands_on_what_people_said_or_on_their_silence() {
    let mut writer = Writer::new(7);
    let answered = writer.escalated(0, true);
    let silent = writer.escalated(0, false);
    let [intent, asked, ended, decision] = [silent[0], silent[1], silent[2], silent[3]];
    let store = graph_of(&writer.entries);
    let events = events(&writer.entries);
    let graph = Graph::new(&store, &events);
    let parents = |seq| graph.node(seq).expect("reads").expect("a node").parents;
    let says =
        |seq: Seq, relation, parent: Seq| parents(seq).iter().any(|it| (it.seq, it.relation) == (parent, relation));
    assert!(says(answered[2], Relation::Approves, answered[0]));
    assert!(says(answered[3], Relation::ReliesOn, answered[2]) && says(answered[3], Relation::Follows, answered[1]));
    assert!(says(ended, Relation::Ends, asked));
    assert!(says(decision, Relation::ReliesOn, ended) && says(decision, Relation::Answers, intent));
    let case = graph.case(&name("acme"), &name("i-2")).expect("reads").expect("a case");
    assert_eq!((case.intent, case.decision, case.standing), (intent, decision, Standing::Claimed));
    assert_eq!(graph.waiting(None).expect("reads"), []);
    assert_eq!(graph.answers(answered[0]).expect("reads"), [answered[2]]);
    assert_eq!(graph.answers(intent).expect("reads"), []);

    let mut writer = Writer::new(7);
    let asked = writer.escalated(0, true)[1];
    writer.entries.truncate(usize::try_from(asked.0).expect("small") + 1);
    let store = graph_of(&writer.entries);
    let graph = Graph::new(&store, &events);
    assert_eq!(graph.waiting(None).expect("reads"), [asked]);
    assert_eq!(graph.waiting(Some(&name("acme"))).expect("reads"), [asked]);
    assert_eq!(graph.waiting(Some(&name("globex"))).expect("reads"), []);
}

#[test]
fn edges_clocks_and_sequences() {
    let mut writer = story();
    let freeze = writer.act(Statement::Freeze { principal: None, reason: "drill".to_owned(), tenant: None });
    let frozen = writer.append(Event::Frozen(freeze));
    let thaw = writer.act(Statement::Thaw { principal: None, tenant: None });
    let thawed = writer.append(Event::Thawed(thaw));
    let revoked = writer.revoke(0);
    let trusted = writer.trust(0);
    writer.run(&run(0, Status::Succeeded, &[]));
    let (store, events) = (graph_of(&writer.entries), events(&writer.entries));
    let graph = Graph::new(&store, &events);
    let node = |seq: Seq| graph.node(seq).expect("reads").expect("a node");
    let parents = |seq: Seq| node(seq).parents.iter().map(|p| (p.relation, p.seq.0)).collect::<Vec<_>>();
    use Relation::*;
    assert_eq!(parents(Seq(14)), [(AuthorisedBy, 12), (Follows, 10)]);
    assert_eq!(parents(Seq(15)), [(Reconciles, 14), (RootedIn, 0)]);
    assert_eq!(parents(Seq(16)), [(Follows, 0)]);
    assert_eq!(parents(Seq(17)), [(Follows, 16)]);
    assert_eq!(node(Seq(17)).kind, NodeKind::Checkpoint);
    assert_eq!(node(Seq(17)).label, "checkpoint of 17 entries");
    assert_eq!(parents(thawed), [(Ends, frozen.0), (RootedIn, 0)]);
    assert_eq!(parents(revoked), [(Ends, 1), (RootedIn, 0)]);
    assert_eq!(
        parents(Seq(trusted.0 + 2)),
        [(Answers, trusted.0 + 1), (SignedBy, trusted.0), (Under, 4)],
        "the latest trust"
    );
    // 0: 1; keys and policy: 2; evidence: 3; decision: 4; receipt: 5; the next one follows it: 6; its reconciliation: 7.
    let lamports: Vec<u64> = [0, 1, 4, 6, 7, 8, 10, 14, 15].map(|seq| node(Seq(seq)).lamport).to_vec();
    assert_eq!(lamports, [1, 2, 2, 3, 1, 4, 5, 6, 7]);
    let sequences = [7, 11, trusted.0 + 1].map(|seq| node(Seq(seq)).principal_seq);
    assert_eq!(sequences, [Some(1), Some(2), Some(3)]);
}

#[test]
fn ancestors_descendants_and_their_limits() {
    let log = story().entries;
    let (store, events) = (graph_of(&log), events(&log));
    let graph = Graph::new(&store, &events);
    let all = Limits::default();
    let ancestors = graph.ancestors(Seq(10), all).expect("reads").expect("a node");
    assert_eq!((seqs(&ancestors), ancestors.complete), (vec![0, 1, 3, 4, 6, 7, 8, 10], true));
    let descendants = graph.descendants(Seq(6), all).expect("reads").expect("a node");
    assert_eq!((seqs(&descendants), descendants.complete), (vec![6, 8, 10, 14, 15], true));
    let near = graph.ancestors(Seq(10), Limits { depth: 1, ..all }).expect("reads").expect("a node");
    assert_eq!((seqs(&near), near.complete), (vec![8, 10], false));
    let few = graph.descendants(Seq(0), Limits { nodes: 3, ..all }).expect("reads").expect("a node");
    assert_eq!((seqs(&few), few.complete), (vec![0, 1, 2], false));
    assert_eq!(graph.ancestors(Seq(9), all).expect("reads"), None);

    let dot = near.to_dot();
    assert!(dot.contains("  n10 -> n8 [label=\"authorised by\"];\n"), "{dot}");
    assert!(!dot.contains("n8 ->"), "an edge leaves the part that is shown: {dot}");
    let json = near.to_json();
    assert_eq!(json["complete"], false);
    assert_eq!(json["nodes"][1]["kind"], "EFFECT");
    assert_eq!(json["nodes"][1]["parents"][0], serde_json::json!({"seq": 8, "relation": "authorised_by"}));
}

#[test]
fn a_case_is_found_by_tenant_and_id_and_no_stranger_hides_it() {
    let mut writer = story();
    let squat = writer.squat(1);
    let free = writer.refused(0, "refund", Code::KeyUnknown);
    let (store, events) = (graph_of(&writer.entries), events(&writer.entries));
    let graph = Graph::new(&store, &events);
    let case = |id: &str| graph.case(&name("acme"), &name(id)).expect("reads");
    let first = case("i-1").expect("a case");
    assert_eq!((first.intent, first.decision, first.receipts), (Seq(7), Seq(8), vec![Seq(10)]));
    let second = case("i-2").expect("a case");
    assert_eq!((second.receipts, second.reconciled), (vec![Seq(14)], Some(Seq(15))));
    let third = case("i-3").expect("a case");
    assert_eq!((third.decision, third.standing), (free, Standing::Unclaimed));
    assert_eq!(case("i-9"), None);
    assert!(graph.node(squat).expect("reads").is_some(), "the stranger's decision is a node all the same");
}

#[test]
fn a_key_has_as_many_children_as_it_signed_intents() {
    let mut writer = Writer::new(7);
    let mut expected = Vec::new();
    for _ in 0..700 {
        writer.run(&run(0, Status::Succeeded, &[]));
        expected.push(u64::try_from(writer.entries.len()).expect("small") - 3);
    }
    let (store, events) = (graph_of(&writer.entries), events(&writer.entries));
    let graph = Graph::new(&store, &events);
    let children = |most| graph.children(Seq(1), most).expect("reads").iter().map(|seq| seq.0).collect::<Vec<_>>();
    assert_eq!(children(usize::MAX), expected, "in the order of the log, over several runs");
    for most in [0, 3, 4, 5, 300] {
        assert_eq!(children(most), expected[..most]);
    }
    let few = graph.descendants(Seq(1), Limits { nodes: 10, depth: 1 }).expect("reads").expect("a node");
    assert_eq!((few.nodes.len(), few.complete), (10, false));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn every_graph_points_back_and_both_ways(seed: u64, steps in 0_usize..60) {
        let log = ledger::random(seed, steps);
        let (store, events) = (graph_of(&log), events(&log));
        let graph = Graph::new(&store, &events);
        let wide = Limits { depth: 1_000, nodes: 100_000 };
        for entry in &log {
            let seq = entry.header.seq;
            let Some(node) = graph.node(seq).expect("reads") else { continue };
            for parent in &node.parents {
                prop_assert!(parent.seq < seq, "{node} stands on what came later");
                let above = graph.node(parent.seq).expect("reads").expect("parents are nodes");
                prop_assert!(above.lamport < node.lamport);
                prop_assert!(graph.children(parent.seq, usize::MAX).expect("reads").contains(&seq));
            }
            for child in graph.children(seq, usize::MAX).expect("reads") {
                let below = graph.node(child).expect("reads").expect("children are nodes");
                prop_assert!(below.parents.iter().any(|parent| parent.seq == seq));
            }
            if node.kind == NodeKind::Effect {
                let ancestors = graph.ancestors(seq, wide).expect("reads").expect("a node");
                prop_assert!(ancestors.complete);
                prop_assert!(ancestors.nodes.contains_key(&Seq(0)), "{node} does not go back to genesis");
                prop_assert!(ancestors.nodes.values().any(|above| above.kind == NodeKind::Intent));
                for above in ancestors.nodes.keys() {
                    let below = graph.descendants(*above, wide).expect("reads").expect("a node");
                    prop_assert!(below.nodes.contains_key(&seq));
                }
                let tree = graph.tree(seq, wide).expect("reads").expect("a node").to_string();
                prop_assert!(tree.lines().all(|line| line.contains('#')), "{}", tree);
            }
        }
    }
}

fn stands(graph: &Graph<'_>, node: Seq, on: Seq, relation: Relation) -> bool {
    graph.node(node).expect("reads").expect("a node").parents.contains(&Parent { seq: on, relation })
}

/// What is dispatched in a ledger with a connector outside is found until it has its receipt; the receipt stands on what was
/// reported, and a late report on the receipt.
#[test]
fn a_receipt_stands_on_the_report_before_it() {
    let mut writer = Writer::new(7);
    let run = |status| Run { agent: 0, action: "mail", spends: vec![], status, evidence: &[] };
    writer.run(&run(Status::Succeeded));
    let dispatched = |writer: &Writer, at: usize| {
        let log = &writer.entries[..at];
        let (store, events) = (graph_of(log), events(log));
        Graph::new(&store, &events).dispatched(Seq(0)).collect::<Result<Vec<_>, _>>().expect("reads")
    };
    let all = |writer: &Writer| (1..=writer.entries.len()).map(|at| dispatched(writer, at).len()).max();
    assert_eq!(all(&writer), Some(0), "nothing is outside");
    let policy = writer.activate_outside();
    let (decision, _) = writer.outside(&run(Status::Succeeded), None);
    let dispatch = decision.next();
    let found = dispatched(&writer, usize::try_from(dispatch.0).expect("small") + 1);
    let [(seq, found)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((*seq, found.dispatch, found.policy), (decision, dispatch, policy));
    let log = writer.entries.clone();
    let (store, all) = (graph_of(&log), events(&log));
    let graph = Graph::new(&store, &all);
    assert_eq!(graph.dispatched(Seq(0)).collect::<Result<Vec<_>, _>>().expect("reads"), []);
    let (report, receipt) = (dispatch.next(), dispatch.next().next());
    assert!(stands(&graph, receipt, report, Relation::ReliesOn));

    let (missed, _) = writer.outside(&run(Status::Uncertain), Some(true));
    let log = writer.entries.clone();
    let (store, all) = (graph_of(&log), events(&log));
    let graph = Graph::new(&store, &all);
    let deadline = missed.next().next();
    let (receipt, late) = (deadline.next(), deadline.next().next());
    assert!(stands(&graph, receipt, deadline, Relation::ReliesOn));
    assert!(stands(&graph, late, receipt, Relation::Reconciles));
    assert!(!stands(&graph, receipt, report, Relation::ReliesOn), "only on the one before it");
    assert_eq!(graph.dispatched(Seq(0)).collect::<Result<Vec<_>, _>>().expect("reads"), []);
}
