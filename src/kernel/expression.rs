//! Expressions of the Common Expression Language (CEL, <https://cel.dev>) over an intent and what was found about it.
//!
//! The library that evaluates them has no limit of cost, and its maps iterate in another order in every run. So an expression
//! is held to a small part of the language when its bundle is loaded: short, flat, with known names only, without loops in
//! loops, and looping over lists only; and it is evaluated over small arguments only. That bounds one evaluation to
//! [`LOOPS_MAX`] times [`ITEMS_MAX`] times [`NODES_MAX`] steps over at most [`ARGS_BYTES_MAX`] bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, OnceLock};

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue};
use cel::common::types::{CelList, CelString, DYN_TYPE};
use cel::common::value::CowVal;
use cel::parser::PrattParser;
use cel::{Context, Env, ExecutionError, Value};
use serde_json::Value as Json;

use writ_schemas::decision::{EvidenceKnown, Facts};
use writ_schemas::ids::{Digest, KeyId, Name, UnixMicros};
use writ_schemas::intent::Intent;

/// The longest expression, in bytes.
pub const SOURCE_BYTES_MAX: usize = 512;

/// The deepest nesting. The evaluator recurses.
pub const DEPTH_MAX: usize = 24;

/// The most nodes, with those that macros expand to.
pub const NODES_MAX: usize = 256;

/// The most loops (`exists`, `all`, `exists_one`), none within another.
pub const LOOPS_MAX: usize = 4;

/// The longest list that is looped over.
pub const ITEMS_MAX: usize = 64;

/// The largest arguments that are looked at: the bytes of all texts and names in them, and 8 for every value.
pub const ARGS_BYTES_MAX: usize = 16 << 10;

/// What an expression can speak of, and the fields of each. `args` are free.
const NAMES: &[(&str, &[&str])] = &[
    ("intent", &["action", "args", "id", "principal", "session", "tenant"]),
    ("evidence", EVIDENCE),
    ("budget", &["committed", "cost", "limit", "reserved"]),
    ("now", &[]),
];

/// What a piece of evidence has.
const EVIDENCE: &[&str] = &["about_effect", "age_us", "key", "kind", "principal", "roles"];

/// What may be called. Nothing here makes a list, a map or a text, so that nothing grows in a loop; `_+_` is for numbers only,
/// see [`Check::node`].
const FUNCTIONS: &[&str] = &[
    "_?_:_",
    "_&&_",
    "_||_",
    "!_",
    "_-_",
    "_+_",
    "_*_",
    "_/_",
    "_%_",
    "_==_",
    "_!=_",
    "_>=_",
    "_<=_",
    "_>_",
    "_<_",
    "-_",
    "_[_]",
    "@in",
    "@not_strictly_false",
    "size",
    "contains",
    "startsWith",
    "endsWith",
];

/// What stands around each list among the arguments that is looped over, with the name of that list. Nobody can write it.
const SHORT_LIST: &str = "@short_list";

/// What expressions and requirements are held against.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Evidence, receipts, the budget.
    pub facts: &'a Facts,
    /// The intent.
    pub intent: &'a Intent,
    /// The effect that it asks for.
    pub effect: Digest,
    /// The key that signed it.
    pub signer: KeyId,
    /// The time of the decision.
    pub now: UnixMicros,
}

/// Checked expressions, by what they say.
pub type Expressions = BTreeMap<String, Expression>;

/// An expression that was checked.
#[derive(Clone)]
pub struct Expression {
    source: String,
    tree: Arc<IdedExpr>,
    /// What it speaks of.
    names: BTreeSet<&'static str>,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Expression) -> bool {
        self.source == other.source
    }
}

impl Expression {
    /// Parses and checks an expression.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn compile(source: &str) -> Result<Expression, String> {
        if source.len() > SOURCE_BYTES_MAX {
            return Err(format!("an expression of {} bytes, at most {SOURCE_BYTES_MAX}", source.len()));
        }
        let depth = u16::try_from(DEPTH_MAX).unwrap_or(u16::MAX);
        let mut tree = PrattParser::new().max_recursion_depth(depth).parse(source).map_err(|errors| {
            let first = errors.to_string();
            faulty(source, first.lines().next().unwrap_or_default())
        })?;
        let mut check = Check::default();
        check.node(&mut tree, 0).map_err(|why| faulty(source, why))?;
        if check.names.is_empty() {
            return Err(faulty(source, "it asks about nothing, so it is always the same"));
        }
        Ok(Expression { source: source.to_owned(), tree: Arc::new(tree), names: check.names })
    }

    /// Whether it holds where nothing is shown; nothing where that depends on the intent.
    pub(crate) fn over_nothing(&self) -> Option<bool> {
        if self.names != ["evidence"].into() {
            return None;
        }
        let mut context = Context::with_env(Arc::clone(environment()));
        context.add_variable_from_value("evidence", Value::List(Arc::default()));
        Some(Value::resolve(&self.tree, &context) == Ok(Value::Bool(true)))
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// It cannot be told, for the reason given.
    pub fn holds(&self, found: &Found<'_>) -> Result<bool, String> {
        let cannot = |why: &dyn fmt::Display| faulty(&self.source, why);
        let args = &found.intent.args;
        if args.iter().map(|(name, value)| weight(name.len(), value)).sum::<usize>() > ARGS_BYTES_MAX {
            return Err(cannot(&format!("the arguments are larger than {ARGS_BYTES_MAX} bytes")));
        }
        let mut context = Context::with_env(Arc::clone(environment()));
        for name in &self.names {
            let value = match *name {
                "intent" => intent(found),
                "evidence" => evidence(found),
                "budget" => budget(found),
                _ => integer(found.now.0),
            };
            context.add_variable_from_value(*name, value);
        }
        match Value::resolve(&self.tree, &context) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(_) => Err(cannot(&"it is neither true nor false")),
            Err(error) => Err(cannot(&why(&error))),
        }
    }
}

/// Why an evaluation failed. Never what the library says where it shows values: it prints maps in another order each time,
/// and this stands in a decision that replay must derive to the letter.
#[allow(clippy::wildcard_enum_match_arm, reason = "the library's enum, which may grow")]
fn why(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("there is no {key}"),
        ExecutionError::NoSuchOverload(overload) => format!("{} is not for such values", overload.function()),
        ExecutionError::UnsupportedBinaryOperator(operator, ..) => format!("{operator} is not for such values"),
        ExecutionError::ValuesNotComparable(..) => "such values are not compared".to_owned(),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "a division by zero".to_owned(),
        ExecutionError::Overflow(operator, ..) => format!("{operator} leaves the range of integers"),
        ExecutionError::IndexOutOfBounds(_) => "beyond the end of a list".to_owned(),
        ExecutionError::FunctionError { function, message: list } if function == SHORT_LIST => {
            format!("{list} is no list of at most {ITEMS_MAX}")
        }
        _ => "it cannot be evaluated".to_owned(),
    }
}

/// The fault first: what a person is told is cut at its end.
fn faulty(source: &str, why: impl fmt::Display) -> String {
    format!("{why}, in the expression {source}")
}

/// Making it takes longer than an evaluation, and it never changes.
fn environment() -> &'static Arc<Env> {
    static ENVIRONMENT: OnceLock<Arc<Env>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let mut env = Env::stdlib();
        // The standard library has no such name; without the function every loop over arguments would fail.
        let added = env.add_overload(SHORT_LIST, SHORT_LIST, vec![DYN_TYPE, DYN_TYPE], short_list);
        debug_assert!(added.is_ok(), "a name of our own");
        Arc::new(env)
    })
}

/// A list that may be looped over, as it is. A map is none: it is looped over in its order of the day.
fn short_list<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let mut args = args.into_iter();
    let (list, name) = (args.next(), args.next());
    let is_short = |list: &CowVal<'_, 'v>| {
        list.as_ref().downcast_ref::<CelList<'_>>().is_some_and(|list| list.inner().len() <= ITEMS_MAX)
    };
    list.filter(is_short).ok_or_else(|| {
        let name = name.and_then(|name| Some(name.as_ref().downcast_ref::<CelString<'_>>()?.inner().to_owned()));
        ExecutionError::function_error(SHORT_LIST, name.unwrap_or_default())
    })
}

fn integer(number: u64) -> Value {
    i64::try_from(number).map_or(Value::UInt(number), Value::Int)
}

fn text(text: impl ToString) -> Value {
    Value::String(Arc::new(text.to_string()))
}

fn optional(name: Option<&Name>) -> Value {
    name.map_or(Value::Null, text)
}

/// A map: looked up, compared, never looped over.
fn map(fields: impl IntoIterator<Item = (String, Value)>) -> Value {
    let fields = fields.into_iter().map(|(name, value)| (cel::objects::Key::String(Arc::new(name)), value));
    Value::Map(cel::objects::Map { map: Arc::new(fields.collect()) })
}

fn record<const N: usize>(fields: [(&str, Value); N]) -> Value {
    map(fields.map(|(name, value)| (name.to_owned(), value)))
}

/// What a value counts towards [`ARGS_BYTES_MAX`].
fn weight(name: usize, value: &Json) -> usize {
    let inside = match value {
        Json::String(text) => text.len(),
        Json::Array(items) => items.iter().map(|item| weight(0, item)).sum(),
        Json::Object(fields) => fields.iter().map(|(name, value)| weight(name.len(), value)).sum(),
        Json::Null | Json::Bool(_) | Json::Number(_) => 0,
    };
    name.saturating_add(inside).saturating_add(8)
}

/// JSON as CEL sees it: whole numbers are integers.
fn json(value: &Json) -> Value {
    match value {
        Json::Null => Value::Null,
        Json::Bool(it) => Value::Bool(*it),
        Json::Number(it) => match it.as_i64() {
            Some(it) => Value::Int(it),
            None => it.as_f64().map_or(Value::Null, Value::Float),
        },
        Json::String(it) => text(it),
        Json::Array(items) => Value::List(Arc::new(items.iter().map(json).collect())),
        Json::Object(fields) => map(fields.iter().map(|(name, value)| (name.clone(), json(value)))),
    }
}

fn intent(found: &Found<'_>) -> Value {
    let intent = found.intent;
    record([
        ("action", text(&intent.action)),
        ("args", map(intent.args.iter().map(|(name, value)| (name.clone(), json(value))))),
        ("id", text(&intent.id)),
        ("principal", text(&intent.principal)),
        ("session", optional(intent.session.as_ref())),
        ("tenant", text(&intent.tenant)),
    ])
}

fn evidence(found: &Found<'_>) -> Value {
    // Each once, and none that a requirement would not count: of a key that is trusted now, and about no other effect.
    let mut seen = BTreeSet::new();
    let known = found.facts.evidence.iter().filter_map(|fact| fact.known.as_ref()).filter(|it| {
        it.principal.is_some() && it.effect.is_none_or(|effect| effect == found.effect) && seen.insert(it.seq)
    });
    let piece = |it: &EvidenceKnown| {
        let age = it.issued_at.and_then(|at| found.now.0.checked_sub(at.0));
        record([
            ("about_effect", Value::Bool(it.effect == Some(found.effect))),
            ("age_us", age.map_or(Value::Null, integer)),
            ("key", text(it.signer)),
            ("kind", text(&it.kind)),
            ("principal", optional(it.principal.as_ref())),
            ("roles", Value::List(Arc::new(it.roles.iter().map(text).collect()))),
        ])
    };
    Value::List(Arc::new(known.map(piece).collect()))
}

fn budget(found: &Found<'_>) -> Value {
    let Some(fact) = found.facts.budget.first() else { return Value::Null };
    record([
        ("committed", integer(fact.committed)),
        ("cost", fact.cost.map_or(Value::Null, integer)),
        ("limit", integer(fact.limit)),
        ("reserved", integer(fact.reserved)),
    ])
}

/// What was seen of an expression so far.
#[derive(Default)]
struct Check {
    nodes: usize,
    names: BTreeSet<&'static str>,
    looped: usize,
    /// Inside a loop: its variable with the fields that it has, and what the loop counts in.
    inner: Option<(String, &'static [&'static str], String)>,
}

impl Check {
    /// Checks a node with all below it, and has each loop over a list among the arguments ask first, when it is reached, whether
    /// that may be looped over: what stands before the loop can so decide without it.
    fn node(&mut self, node: &mut IdedExpr, depth: usize) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > NODES_MAX || depth > DEPTH_MAX {
            return Err(format!("more than {NODES_MAX} nodes, or nested deeper than {DEPTH_MAX}"));
        }
        let depth = depth + 1;
        match &mut node.expr {
            Expr::Ident(name) => self.name(name).map(drop),
            Expr::Select(select) => {
                if let Expr::Ident(name) = &select.operand.expr
                    && let Some(fields) = self.name(name)?
                    && !fields.contains(&select.field.as_str())
                {
                    return Err(format!("{name} has no field {}", select.field));
                }
                self.node(&mut select.operand, depth)
            }
            Expr::Call(call) => {
                if !FUNCTIONS.contains(&call.func_name.as_str()) {
                    return Err(format!("{} is not known here", call.func_name));
                }
                // On lists and texts it would grow them, and a list takes a map's keys in their order of the day.
                if call.func_name == "_+_" && !call.args.iter().any(is_number) {
                    return Err("+ needs a number on one side: a literal, size() or a calculation".to_owned());
                }
                call.target.iter_mut().try_for_each(|target| self.node(target, depth))?;
                call.args.iter_mut().try_for_each(|arg| self.node(arg, depth))
            }
            Expr::List(list) if list.optional_indices.is_empty() => list.elements.iter_mut().try_for_each(|element| {
                if matches!(element.expr, Expr::Literal(_)) {
                    return self.node(element, depth);
                }
                Err("a list of other things than literals".to_owned())
            }),
            Expr::Literal(_) => Ok(()),
            Expr::Comprehension(it) => {
                if self.inner.is_some() {
                    return Err("a loop in a loop".to_owned());
                }
                self.looped += 1;
                let starts =
                    matches!(&it.accu_init.expr, Expr::Literal(LiteralValue::Boolean(_) | LiteralValue::Int(_)));
                if self.looped > LOOPS_MAX || it.iter_var2.is_some() || !starts {
                    return Err(format!("at most {LOOPS_MAX} loops: exists, all, exists_one, with one variable"));
                }
                self.node(&mut it.iter_range, depth)?;
                let fields = match path(&it.iter_range).as_deref() {
                    Some([name]) if name == "evidence" => EVIDENCE,
                    Some([name, field, rest @ ..]) if name == "intent" && field == "args" && !rest.is_empty() => {
                        guard(&mut it.iter_range, format!("intent.args.{}", rest.join(".")));
                        &[]
                    }
                    Some(_) | None => {
                        return Err("a loop over something else than evidence or intent.args.NAME".to_owned());
                    }
                };
                self.inner = Some((it.iter_var.clone(), fields, it.accu_var.clone()));
                for part in [&mut it.accu_init, &mut it.loop_cond, &mut it.loop_step, &mut it.result] {
                    self.node(part, depth)?;
                }
                self.inner = None;
                Ok(())
            }
            Expr::List(_) | Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                Err("maps, structures and optional elements are not known here".to_owned())
            }
        }
    }

    /// The fields of what a name stands for; nothing where it may have any.
    fn name(&mut self, name: &str) -> Result<Option<&'static [&'static str]>, String> {
        if let Some((variable, fields, counter)) = &self.inner {
            if variable == name {
                return Ok(Some(*fields).filter(|fields| !fields.is_empty()));
            }
            if counter == name {
                return Ok(None);
            }
        }
        let (name, fields) = NAMES.iter().find(|(known, _)| *known == name).ok_or_else(|| {
            let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            format!("{name} is not known here; there are {}", known.join(", "))
        })?;
        self.names.insert(name);
        Ok(Some(fields))
    }
}

/// Puts [`SHORT_LIST`] around what is looped over.
fn guard(range: &mut IdedExpr, name: String) {
    let name = IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::String(name.into())) };
    let call = |list| CallExpr { func_name: SHORT_LIST.to_owned(), target: None, args: vec![list, name] };
    *range = IdedExpr { id: range.id, expr: Expr::Call(call(std::mem::take(range))) };
}

/// Whether this is a number, or fails.
fn is_number(node: &IdedExpr) -> bool {
    match &node.expr {
        Expr::Literal(LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_)) => true,
        Expr::Call(call) => ["_+_", "_-_", "_*_", "_/_", "_%_", "-_", "size"].contains(&call.func_name.as_str()),
        Expr::Literal(_)
        | Expr::Unspecified
        | Expr::Comprehension(_)
        | Expr::Ident(_)
        | Expr::List(_)
        | Expr::Map(_)
        | Expr::Select(_)
        | Expr::Struct(_) => false,
    }
}

/// The names of `a.b.c`.
fn path(node: &IdedExpr) -> Option<Vec<String>> {
    match &node.expr {
        Expr::Ident(name) => Some(vec![name.clone()]),
        Expr::Select(select) if !select.test => {
            let mut path = path(&select.operand)?;
            path.push(select.field.clone());
            Some(path)
        }
        Expr::Select(_)
        | Expr::Unspecified
        | Expr::Call(_)
        | Expr::Comprehension(_)
        | Expr::List(_)
        | Expr::Literal(_)
        | Expr::Map(_)
        | Expr::Struct(_) => None,
    }
}

#[cfg(test)]
mod tests;
