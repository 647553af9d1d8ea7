//! What is no expression here, how large one may be, and what one sees of an intent and what was found.

use serde_json::json;

use writ_schemas::decision::{BudgetFact, EvidenceFact};
use writ_schemas::ids::Seq;

use super::*;

/// On a stack of half a megabyte, a quarter of what any thread of ours has.
fn refused(source: &str) -> Option<String> {
    let source = source.to_owned();
    let thread = std::thread::Builder::new().stack_size(512 << 10);
    let compiled = thread.spawn(move || Expression::compile(&source).err()).expect("a thread");
    compiled.join().expect("no panic")
}

#[test]
fn what_is_hostile_is_refused_by_name() {
    #[rustfmt::skip] // A table is read by columns.
    let rows = [
        ("1+".repeat(2000) + "1",                               "at most 512"),
        ("intent.args.a == ".to_owned() + &"1+".repeat(200) + "1", "nested deeper"),
        ("(".repeat(500),                                       "recursion limit"),
        ("[".repeat(500),                                       "recursion limit"),
        ("f(".repeat(200),                                      "recursion limit"),
        ("A{b:".repeat(100),                                    "recursion limit"),
        ("!".repeat(500) + "intent.args.a",                     ""),
        ("true?1:".repeat(70) + "1",                            "nested deeper"),
        ("intent".to_owned() + &".a".repeat(200),               "nested deeper"),
        ("[1].all(x,".repeat(12) + "true" + &")".repeat(12),    "a loop"),
        ("evidence.all(a, evidence.all(b, true))".to_owned(),   "a loop in a loop"),
        (["evidence.all(a,true)"; 5].join("&&"),                "at most 4 loops"),
        ("evidence.map(e, e.kind) == []".to_owned(),            "exists, all, exists_one"),
        ("evidence.filter(e, true).exists(e, true)".to_owned(), "exists, all, exists_one"),
        ("intent.args.exists(k, k == 'x')".to_owned(),          "a loop over something else"),
        ("{'a': 1}.exists(k, k == intent.tenant)".to_owned(),   "maps"),
        ("intent.args == {}".to_owned(),                        "maps"),
        ("intent.tenant.matches('a*')".to_owned(),              "matches is not known here"),
        ("nobody(intent.tenant)".to_owned(),                    "nobody is not known here"),
        ("stranger.name == 'x'".to_owned(),                     "stranger is not known here"),
        ("intent.tenants == 'x'".to_owned(),                    "intent has no field tenants"),
        ("evidence.exists(e, e.sort == 'x')".to_owned(),        "e has no field sort"),
        ("([] + intent.args)[0] == 'a'".to_owned(),             "+ needs a number"),
        ("intent.args.a + intent.args.b == 2".to_owned(),       "+ needs a number"),
        ("[intent.args.a] == []".to_owned(),                    "other things than literals"),
        ("1 == 1".to_owned(),                                   "it asks about nothing"),
        ("".to_owned(),                                         ""),
        ("'".to_owned(),                                        ""),
        ("intent.tenant ==".to_owned(),                         ""),
        ("\u{0}\u{ffff}".to_owned(),                            ""),
    ];
    for (source, why) in rows {
        let shown: String = source.chars().take(60).collect();
        let found = refused(&source).unwrap_or_else(|| panic!("accepted: {shown}"));
        assert!(found.contains(why), "{shown}: {found}");
    }
    assert_eq!(refused("intent.args.amount < 5000 || evidence.exists(e, e.kind == 'approval')"), None);
}

fn taken(source: &str) -> Expression {
    Expression::compile(source).expect(source)
}

/// So many bytes: a text is compared with the tenant.
fn long(bytes: usize) -> String {
    const AROUND: usize = "intent.tenant == ''".len();
    format!("intent.tenant == '{}'", "x".repeat(bytes - AROUND))
}

/// So many nodes, few of them deep: 37, and a list of numbers.
fn many(nodes: usize) -> String {
    let ones = vec!["1"; nodes - 37].join(",");
    format!("now==1{}&&now in[{ones}]", "-1".repeat(15))
}

#[test]
fn an_expression_is_small_to_the_byte_the_node_and_the_loop() {
    const LARGE: &str = "more than 256 nodes, or nested deeper than 24, in the expression ";
    const LOOPS: &str = "at most 4 loops: exists, all, exists_one, with one variable, in the expression ";
    let deep = |selections: usize| format!("intent.args{}", ".a".repeat(selections - 1));
    let loops = |n: usize| vec!["evidence.all(a,true)"; n].join("&&");
    #[rustfmt::skip] // A table is read by columns.
    let rows = [
        (long(512),  None),
        (long(513),  Some("an expression of 513 bytes, at most 512".to_owned())),
        (many(256),  None),
        (many(257),  Some(LARGE.to_owned() + &many(257))),
        (deep(24),   None),
        (deep(25),   Some(LARGE.to_owned() + &deep(25))),
        (loops(4),   None),
        (loops(5),   Some(LOOPS.to_owned() + &loops(5))),
    ];
    for (source, why) in rows {
        assert_eq!(refused(&source), why, "{source}");
    }
}

#[test]
fn an_author_is_told_what_there_is() {
    for (source, why) in [
        ("stranger == 1", "stranger is not known here; there are intent, evidence, budget, now"),
        ("budget.left > 1", "budget has no field left"),
        ("evidence.exists(e, e.kinds == 'x')", "e has no field kinds"),
        ("evidence.exists(e, true) && e.kind == 'x'", "e is not known here; there are intent, evidence, budget, now"),
        ("evidence.exists(e, intent.who == e.kind)", "intent has no field who"),
        ("intent.tenant.exists(t, true)", "a loop over something else than evidence or intent.args.NAME"),
        ("intent.args.exists(a, true)", "a loop over something else than evidence or intent.args.NAME"),
        ("budget.args.a.exists(a, true)", "budget has no field args"),
        ("intent.id.a.exists(a, true)", "a loop over something else than evidence or intent.args.NAME"),
        ("evidence.kind.exists(a, true)", "a loop over something else than evidence or intent.args.NAME"),
        ("budget.exists(a, true)", "a loop over something else than evidence or intent.args.NAME"),
        ("has(intent.args.a).exists(x, x)", "a loop over something else than evidence or intent.args.NAME"),
        ("intent.args['a'].exists(x, x)", "a loop over something else than evidence or intent.args.NAME"),
        ("intent.tenant + 'x' == 'ax'", "+ needs a number on one side: a literal, size() or a calculation"),
        ("intent.args.a + true", "+ needs a number on one side: a literal, size() or a calculation"),
        ("[intent.tenant] == []", "a list of other things than literals"),
        ("intent.args == {}", "maps, structures and optional elements are not known here"),
        ("'a' in ['a']", "it asks about nothing, so it is always the same"),
    ] {
        assert_eq!(refused(source), Some(format!("{why}, in the expression {source}")));
    }
}

#[test]
fn two_expressions_are_the_same_if_they_are_written_the_same() {
    assert_eq!(taken("now > 1"), taken("now > 1"));
    assert_ne!(taken("now > 1"), taken("now > 2"));
    assert_eq!(format!("{:?}", taken("now > 1")), r#""now > 1""#);
}

#[test]
fn what_holds_where_nothing_is_shown_is_known_of_evidence_alone() {
    for (source, holds) in [
        ("evidence.all(e, e.kind == 'scan')", Some(true)),
        ("size(evidence) == 0", Some(true)),
        ("evidence.exists(e, e.kind == 'scan')", Some(false)),
        ("evidence[0].kind == 'scan'", Some(false)), // it cannot be told
        ("size(evidence)", Some(false)),             // neither true nor false
        ("intent.tenant == 'acme'", None),
        ("now > 5", None),
        ("size(evidence) == 0 && now > 5", None),
    ] {
        assert_eq!(taken(source).over_nothing(), holds, "{source}");
    }
}

const EFFECT: Digest = Digest([7; 32]);
const NOW: UnixMicros = UnixMicros(1_000_000_000);

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// What an expression says of an intent with these args and of these facts.
fn says_of(source: &str, args: Json, facts: &Facts, now: UnixMicros) -> Result<bool, String> {
    let intent = json!({
        "action": "pay", "args": args, "expires_at": 1, "id": "id-1", "principal": "agent", "tenant": "acme", "session": "s-1",
    });
    let intent: Intent = serde_json::from_value(intent).expect("an intent");
    taken(source).holds(&Found { facts, intent: &intent, effect: EFFECT, signer: KeyId([9; 32]), now })
}

fn says(source: &str, args: Json) -> Result<bool, String> {
    says_of(source, args, &Facts::default(), NOW)
}

#[test]
fn an_expression_sees_every_part_of_an_intent() {
    let args = json!({
        "amount": 100, "least": -9_007_199_254_740_991_i64, "rate": 1.5, "paid": true, "note": null,
        "tags": ["a", "b"], "to": {"iban": "x", "city": {"zip": "1"}},
    });
    for source in [
        "intent.action == 'pay'",
        "intent.id == 'id-1'",
        "intent.principal == 'agent'",
        "intent.session == 's-1'",
        "intent.tenant == 'acme'",
        "intent.args.amount == 100",
        "intent.args.least == -9007199254740991",
        "intent.args.rate == 1.5",
        "intent.args.paid && intent.args.note == null",
        "intent.args.tags == ['a', 'b']",
        "intent.args.to.city.zip == '1'",
        "'iban' in intent.args.to && !('bic' in intent.args.to)",
        "size(intent.args.to) == 2",
        "now == 1000000000",
        // Whatever may be called can be called.
        "intent.args.amount > 99 ? intent.args.amount >= 100 : false",
        "intent.args.amount < 101 && intent.args.amount <= 100 || false",
        "intent.args.amount - 1 == 99 && -intent.args.amount == -100 && 1 + intent.args.amount * 2 == 201",
        "intent.args.amount / 3 == 33 && intent.args.amount % 3 == 1 && intent.args.amount != 0",
        "intent.args.tags[1] == 'b' && 'a' in intent.args.tags && size(intent.args.tags) == 2",
        "intent.tenant.contains('cm') && intent.tenant.startsWith('ac') && intent.tenant.endsWith('me')",
        "intent.args.tags.exists(t, t == 'a') && intent.args.tags.exists_one(t, t == 'b')",
        "intent.args.tags.all(t, t != intent.tenant)",
        // A number on either side makes + a sum.
        "intent.args.amount + 1 == 101 && intent.args.rate + 1.0 == 2.5 && 1u + 1u == 2u",
        "size(intent.args.tags) + intent.args.amount == 102",
        "(intent.args.amount - 1) + intent.args.amount == 199 && -(1) + intent.args.amount == 99",
        "(1 * 2) + intent.args.amount == 102 && (4 / 2) + intent.args.amount == 102",
        "(5 % 3) + intent.args.amount == 102 && (1 + 1) + intent.args.amount == 102",
    ] {
        assert_eq!(says(source, args.clone()), Ok(true), "{source}");
    }
}

#[test]
fn what_cannot_be_told_is_told_why() {
    let args = json!({"amount": 100, "tags": ["a", "b"], "to": {"iban": "x"}});
    #[rustfmt::skip] // A table is read by columns.
    let rows = [
        ("intent.args.nothing == 1",                   "there is no nothing"),
        ("intent.args.amount / 0 == 1",                "a division by zero"),
        ("intent.args.amount % 0 == 1",                "a division by zero"),
        ("intent.args.amount",                         "it is neither true nor false"),
        ("intent.args.amount * 9223372036854775807 > 1", "mul leaves the range of integers"),
        ("9223372036854775807 + intent.args.amount > 1", "add leaves the range of integers"),
        ("intent.args.tags[2] == 'c'",                 "beyond the end of a list"),
        ("intent.args.to[1.5] == 'a'",                   "there is no 1.5"),
        ("size(intent.args.amount) == 1",                "size is not for such values"),
        ("intent.tenant - 1 == 1",                       "sub is not for such values"),
        ("intent.args.tags - 1 == 1",                    "sub is not for such values"),
        ("intent.args.amount < 'a'",                     "_<_ is not for such values"),
        ("intent.args.to < intent.args.to",              "_<_ is not for such values"),
        ("intent.args.tags['a'] == 'a'",                 "_[_] is not for such values"),
        ("intent.args.amount.contains('a')",             "contains is not for such values"),
        ("'a' in intent.args.amount",                    "@in is not for such values"),
        ("!intent.args.amount",                          "!_ is not for such values"),
        ("intent.args.amount ? true : false",            "it cannot be evaluated"),
    ];
    for (source, why) in rows {
        assert_eq!(says(source, args.clone()), Err(format!("{why}, in the expression {source}")));
    }
}

/// The library shows values, and a map's in another order each time; what it says stands in no decision.
#[test]
fn a_reason_shows_no_values() {
    let secret = || map([("iban".to_owned(), text("DE00"))]);
    for (error, told) in [
        (ExecutionError::ValuesNotComparable(secret(), secret()), "such values are not compared"),
        (ExecutionError::UnsupportedBinaryOperator("add", secret(), secret()), "add is not for such values"),
        (ExecutionError::Overflow("mul", secret(), secret()), "mul leaves the range of integers"),
        (ExecutionError::DivisionByZero(secret()), "a division by zero"),
        (ExecutionError::RemainderByZero(secret()), "a division by zero"),
        (ExecutionError::IndexOutOfBounds(secret()), "beyond the end of a list"),
        (ExecutionError::UnsupportedKeyType(secret()), "it cannot be evaluated"),
    ] {
        assert_eq!(why(&error), told, "{error}");
    }
}

#[test]
fn arguments_are_small_to_the_byte() {
    const LARGE: &str = "the arguments are larger than 16384 bytes, in the expression now > 1";
    // 9 bytes for the text that fills up: its name, and that it is a value.
    for (others, weight) in [
        (json!({}), 0),
        (json!({"n": 1, "b": true, "z": null}), 27),
        (json!({"text": "ab"}), 14),
        (json!({"list": ["ab", 1]}), 4 + 8 + 10 + 8),
        (json!({"map": {"key": {"x": "y"}}}), 3 + 8 + 3 + 8 + 1 + 8 + 1),
    ] {
        let args = |bytes: usize| {
            let mut args = others.clone();
            args["p"] = "x".repeat(bytes - 9 - weight).into();
            args
        };
        assert_eq!(says("now > 1", args(16_384)), Ok(true), "{others}");
        assert_eq!(says("now > 1", args(16_385)), Err(LARGE.to_owned()), "{others}");
    }
}

#[test]
fn a_list_that_is_looped_over_is_short() {
    let why = |path: &str, source: &str| {
        Err(format!("intent.args.{path} is no list of at most 64, in the expression {source}"))
    };
    let list = |items: usize| json!({"l": vec![1; items], "a": {"b": vec![1; items]}});
    for (path, source) in [("l", "intent.args.l.all(x, x == 1)"), ("a.b", "intent.args.a.b.all(x, x == 1)")] {
        for short in [0, 1, 64] {
            assert_eq!(says(source, list(short)), Ok(true), "{short}");
        }
        assert_eq!(says(source, list(65)), why(path, source));
        assert_eq!(says(source, json!({"l": {"x": 1}, "a": {"b": "x"}})), why(path, source), "something else");
        assert_eq!(says(source, json!({"l": null, "a": {"b": {}}})), why(path, source), "something else");
    }
    let none = "intent.args.l.all(x, x == 1)";
    assert_eq!(says(none, json!({})), Err(format!("there is no l, in the expression {none}")));
}

/// As the language says: a loop that is not reached, or whose failure makes no difference, keeps nothing from being told.
#[test]
fn what_stands_before_a_loop_guards_it() {
    let args =
        [json!({}), json!({"i": 1}), json!({"l": [1, 9]}), json!({"l": [1, 2], "i": 1}), json!({"l": vec![1; 65]})];
    #[rustfmt::skip] // A table is read by columns: what it says of each, nothing where it cannot be told.
    let rows = [
        ("!has(intent.args.l) || intent.args.l.all(v, v < 5)",        [Some(true),  Some(true),  Some(false), Some(true),  None]),
        ("intent.args.l.all(v, v < 5) || !has(intent.args.l)",        [Some(true),  Some(true),  Some(false), Some(true),  None]),
        ("has(intent.args.l) && intent.args.l.all(v, v < 5)",         [Some(false), Some(false), Some(false), Some(true),  None]),
        ("has(intent.args.l) ? intent.args.l.all(v, v < 5) : false",  [Some(false), Some(false), Some(false), Some(true),  None]),
        ("has(intent.args.i) && intent.args.i == 1 || intent.args.l.exists(v, v == 9)",
                                                                      [None,        Some(true),  Some(true),  Some(true),  None]),
        ("!has(intent.args.l) || size(intent.args.l) > 64 || intent.args.l.exists_one(v, v == 9)",
                                                                      [Some(true),  Some(true),  Some(true),  Some(false), Some(true)]),
        ("true || intent.args.l.all(v, v < 5)",                       [Some(true),  Some(true),  Some(true),  Some(true),  Some(true)]),
        ("intent.args.l.all(v, v < 5) && false",                      [Some(false), Some(false), Some(false), Some(false), Some(false)]),
    ];
    for (source, expected) in rows {
        for (args, holds) in args.iter().zip(expected) {
            assert_eq!(says(source, args.clone()).ok(), holds, "{source} of {args}");
        }
    }
}

fn scan() -> EvidenceKnown {
    EvidenceKnown {
        effect: Some(EFFECT),
        expires_at: UnixMicros(u64::MAX),
        issued_at: Some(UnixMicros(NOW.0 - 60)),
        kind: name("scan"),
        principal: Some(name("scanner-1")),
        roles: [name("scanner"), name("agent")].into(),
        seq: Seq(4),
        signer: KeyId([3; 32]),
        used: None,
    }
}

#[test]
fn an_expression_sees_every_part_of_a_piece_of_evidence() {
    let with = |known: Vec<EvidenceKnown>| {
        let fact = |known| EvidenceFact { digest: Digest([1; 32]), known: Some(known) };
        Facts { evidence: known.into_iter().map(fact).collect(), ..Facts::default() }
    };
    let exists = |says: &str, known: EvidenceKnown| {
        says_of(&format!("evidence.exists(e, {says})"), json!({}), &with(vec![known]), NOW).expect(says)
    };
    for (says, known, holds) in [
        ("e.about_effect", scan(), true),
        ("e.about_effect", EvidenceKnown { effect: None, ..scan() }, false),
        ("e.age_us == 60", scan(), true),
        ("e.age_us == null", EvidenceKnown { issued_at: None, ..scan() }, true),
        ("e.age_us == null", EvidenceKnown { issued_at: Some(UnixMicros(NOW.0 + 1)), ..scan() }, true),
        ("e.age_us == 0", EvidenceKnown { issued_at: Some(NOW), ..scan() }, true),
        ("e.key.startsWith('ed25519:0303') && size(e.key) == 72", scan(), true),
        ("e.kind == 'scan'", scan(), true),
        ("e.principal == 'scanner-1'", scan(), true),
        ("'scanner' in e.roles && 'agent' in e.roles && size(e.roles) == 2", scan(), true),
        ("true", EvidenceKnown { principal: None, ..scan() }, false),
        ("true", EvidenceKnown { effect: Some(Digest([8; 32])), ..scan() }, false),
    ] {
        assert_eq!(exists(says, known.clone()), holds, "{says}: {known:?}");
    }
    // One of another payload counts; the same entry twice does not.
    let count = |known: Vec<EvidenceKnown>| {
        let facts = with(known);
        (0..4).find(|n| says_of(&format!("size(evidence) == {n}"), json!({}), &facts, NOW) == Ok(true))
    };
    assert_eq!(count(vec![scan(), EvidenceKnown { seq: Seq(5), ..scan() }, scan()]), Some(2));
    assert_eq!(count(vec![]), Some(0));
}

#[test]
fn an_expression_sees_the_first_budget() {
    let fact = |budget: &str, cost| BudgetFact {
        action: None,
        committed: 10,
        cost,
        limit: 100,
        name: name(budget),
        principal: None,
        reserved: 20,
        since: None,
        unit: name("cents"),
        until: None,
    };
    let says = |source: &str, facts: Vec<BudgetFact>| {
        says_of(source, json!({}), &Facts { budget: facts.into_iter().collect(), ..Facts::default() }, NOW)
    };
    let all = "budget.committed == 10 && budget.cost == 5 && budget.limit == 100 && budget.reserved == 20";
    assert_eq!(says(all, vec![fact("a", Some(5))]), Ok(true));
    assert_eq!(says(all, vec![fact("a", Some(5)), fact("b", Some(6))]), Ok(true));
    assert_eq!(says("budget.cost == null", vec![fact("a", None)]), Ok(true));
    assert_eq!(says("budget == null", vec![]), Ok(true));
    assert_eq!(says("budget == null", vec![fact("a", Some(5))]), Ok(false));
}

#[test]
fn time_is_a_number_up_to_its_end() {
    let at = |source: &str, now: u64| says_of(source, json!({}), &Facts::default(), UnixMicros(now));
    assert_eq!(at("now == 0", 0), Ok(true));
    assert_eq!(at("now == 9223372036854775807", (1 << 63) - 1), Ok(true));
    assert_eq!(at("now == 9223372036854775808u", 1 << 63), Ok(true));
    assert_eq!(at("now == 18446744073709551615u", u64::MAX), Ok(true));
}
