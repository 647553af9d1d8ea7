//! Views whose content is not what a view writes. Opening does not read all of it; a question does.

use writ_projections::projection::Projection;
use writ_projections::proofgraph::ProofGraph;
use writ_projections::sled_store::SledViews;
use writ_projections::store::{Batch, Store};
use writ_schemas::errors::Code;

use crate::scene::{Scene, holds, writ};

#[test]
fn a_view_with_other_content_is_told_and_comes_back_when_it_is_deleted() {
    let scene = Scene::new();
    let show = || writ(["show", "--json", "--data", scene.data(), "acme", "n-1"]);
    let before = show().ended(0).out;
    {
        let views = SledViews::open(&scene.inside("views")).expect("opens");
        let mut graph = views.store(ProofGraph::NAME).expect("a view");
        let cases: Batch = graph.scan(b"i/").map(|pair| (pair.expect("a pair").0, Some(vec![0xff; 8]))).collect();
        assert!(!cases.is_empty(), "nothing was changed");
        graph.commit(&cases).expect("commits");
        views.flush().expect("flushes");
    }
    let run = show();
    let entry = Code::ViewDamaged.entry();
    assert!(run.status == i32::from(entry.exit) && run.err.contains(entry.code), "{run:?}");
    assert!(run.out.is_empty() && run.err.contains(entry.remedy), "{run:?}");
    // The log is the truth: it does not depend on what is derived from it.
    holds(scene.data());
    std::fs::remove_dir_all(scene.inside("views")).expect("deletes");
    assert_eq!(show().ended(0).out, before);
}
