//! Ibgibs on stdin: storing, transforming, addressing, checking.

use crate::args::{self, Args};
use crate::codes::Code;
use crate::device::{Store, moment};
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::report::{Addressed, BadLine, Checked, RuleError};
use ibgib::transform::{self, Moment, Transformed};
use ibgib::{IbGib, Map, Mode, Value, Verified, compat};
use ibgib_keystone::Expect;
use ibgib_spaces::settle::admit;
use std::io::{BufRead, Read};
use std::path::Path;

/// Bytes of a line: an ibgib, escaped, inside options.
const LINE_BYTES_MAX: usize = 4 * ibgib::json::BYTES_MAX;

/// Why a line was not worked on.
enum LineError {
    /// It is bad; the next one goes on.
    Bad(RuleError),
    /// The command cannot go on.
    Fatal(CliError),
}

impl LineError {
    fn bad(rule: &str, message: impl ToString) -> Self {
        Self::Bad(RuleError::new(rule, message))
    }
}

impl<E: Into<CliError>> From<E> for LineError {
    fn from(error: E) -> Self {
        Self::Fatal(error.into())
    }
}

/// The lines of stdin; after one that is too long or not UTF-8 the next goes on.
fn lines() -> impl Iterator<Item = Result<String, LineError>> {
    let mut stdin = std::io::stdin().lock();
    std::iter::from_fn(move || {
        let failed = |error: &std::io::Error| Some(Err(CliError::io(Path::new("stdin"), error).into()));
        let mut bytes = Vec::new();
        match stdin.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut bytes) {
            Err(error) => return failed(&error),
            Ok(0) => return None,
            Ok(_) => {}
        }
        if bytes.len() == LINE_BYTES_MAX && bytes.last() != Some(&b'\n') {
            if let Err(error) = stdin.skip_until(b'\n') {
                return failed(&error);
            }
            return Some(Err(LineError::bad("json", format!("the line is longer than {LINE_BYTES_MAX} bytes"))));
        }
        Some(match String::from_utf8(bytes) {
            Err(error) => Err(LineError::bad("json", format!("the line is not UTF-8: {error}"))),
            Ok(text) => Ok(text.trim_end_matches(['\n', '\r']).to_owned()),
        })
    })
}

/// Whether a line holds nothing: what stores passes over it, what answers line by line answers it too.
fn is_blank(line: &Result<String, LineError>) -> bool {
    line.as_ref().is_ok_and(|text| text.trim().is_empty())
}

/// Answers a bad line in its place.
fn answer_bad(out: &Output, error: LineError) -> Result<(), CliError> {
    match error {
        LineError::Bad(bad) => out.item(&BadLine(&bad)),
        LineError::Fatal(error) => Err(error),
    }
}

impl RuleError {
    fn new(rule: &str, message: impl ToString) -> Self {
        Self { rule: rule.to_owned(), message: message.to_string() }
    }
}

impl From<ibgib::VerifyError> for RuleError {
    fn from(error: ibgib::VerifyError) -> Self {
        Self::new(error.rule(), error)
    }
}

pub(crate) async fn put(args: &Args, out: &Output) -> Result<Exit, CliError> {
    let store = Store::open(args).await?;
    let mut nodes: Vec<Verified<IbGib>> = Vec::new();
    for (i, line) in lines().enumerate() {
        if is_blank(&line) {
            continue;
        }
        let checked = line.and_then(|text| Verified::parse(&text).map_err(|e| LineError::Bad(e.into())));
        nodes.push(checked.map_err(|error| {
            match error {
                LineError::Bad(bad) => CliError::rule(&bad.rule, format!("line {}: {}", i + 1, bad.message))
                    .about(format!("line {}", i + 1))
                    .hint("nothing was stored"),
                LineError::Fatal(error) => error,
            }
        })?);
    }
    admit(&**store.space(), &nodes).await?;
    for node in &nodes {
        out.item(&Addressed(node.addr().to_string()))?;
    }
    Ok(Exit::Done)
}

pub(crate) async fn transform(args: &Args, out: &Output, options: &args::Transform) -> Result<Exit, CliError> {
    let store = if options.compat || options.no_store { None } else { Some(Store::open(args).await?) };
    let mut failed = 0;
    for line in lines() {
        if is_blank(&line) {
            continue;
        }
        let made = match line {
            Ok(text) => run_transform(&text, options.compat, store.as_ref()).await,
            Err(error) => Err(error),
        };
        match made {
            Ok(value) => {
                if out.json {
                    out.line(&value.to_json())?;
                } else {
                    let made = value.get("newIbGib").map(Value::to_json).unwrap_or_default();
                    out.line(&made)?;
                }
            }
            Err(bad) => {
                failed += 1;
                answer_bad(out, bad)?;
            }
        }
    }
    ended(failed)
}

/// Work went on after each bad line; the exit code tells of them.
fn ended(failed: usize) -> Result<Exit, CliError> {
    match failed {
        0 => Ok(Exit::Done),
        n => Err(CliError::new(Code::BadLines, format!("{n} line(s) were bad; each is answered in its place"))),
    }
}

async fn run_transform(line: &str, compat: bool, store: Option<&Store>) -> Result<Value, LineError> {
    let mode = if compat { Mode::Compat } else { Mode::Strict };
    let line = Value::parse(line, mode).map_err(|e| LineError::bad("json", e))?;
    let op = line.get("op").and_then(Value::as_str).unwrap_or("").to_owned();
    let null = Value::Null;
    let opts = line.get("opts").unwrap_or(&null);
    let moment = stub(line.get("stub"));
    if compat {
        let made = match op.as_str() {
            "fork" => compat::transform::fork(opts, &moment),
            "mut8" => compat::transform::mut8(opts, &moment),
            "rel8" => compat::transform::rel8(opts, &moment),
            "firstGen" => compat::transform::first_gen(opts, &moment),
            _ => {
                let expected = format!("unknown op {op:?}: expected fork, mut8, rel8 or firstGen");
                return Err(LineError::bad("op", expected));
            }
        };
        let made = made.map_err(|e| LineError::bad("transform", e))?;
        return Ok(result(&made.new_ibgib, &made.dnas, &made.intermediates));
    }
    let made: Transformed = transform::from_json(&op, opts, &moment).map_err(|error| match error {
        transform::TransformError::Product(error) => LineError::Bad(error.into()),
        error => LineError::bad("transform", error),
    })?;
    if let Some(store) = store {
        let mut nodes = made.nodes();
        // The source comes along: a frame may not relate to what is not there.
        let name = if op == "firstGen" { "parentIbGib" } else { "src" };
        let source = opts.get(name).cloned().map(|v| IbGib::from_value(v, Mode::Strict).and_then(IbGib::verify));
        if let Some(Ok(source)) = source
            && !source.addr().is_primitive()
            && store.space().has(std::slice::from_ref(source.addr())).await? != [true]
        {
            nodes.insert(0, source);
        }
        admit(&**store.space(), &nodes).await?;
    }
    let plain = |nodes: &[Verified<IbGib>]| nodes.iter().map(|n| (**n).clone()).collect::<Vec<_>>();
    Ok(result(&made.frame, &plain(&made.dnas), &plain(&made.intermediates)))
}

fn result(frame: &IbGib, dnas: &[IbGib], intermediates: &[IbGib]) -> Value {
    let list = |nodes: &[IbGib]| Value::Array(nodes.iter().map(IbGib::to_value).collect());
    let mut out: Map = [("newIbGib", frame.to_value())].into_iter().collect();
    if !dnas.is_empty() {
        out.insert("dnas", list(dnas));
    }
    if !intermediates.is_empty() {
        out.insert("intermediateIbGibs", list(intermediates));
    }
    Value::Object(out)
}

/// A clock and random bytes that the line fixes, the system's where it does not.
fn stub(stub: Option<&Value>) -> Moment {
    let mut out = moment();
    if let Some(ms) = stub.and_then(|s| s.get("nowMs")).and_then(Value::as_f64) {
        out.now_ms = ms as i64;
    }
    if let Some(bytes) = stub.and_then(|s| s.get("randomBytes")).and_then(Value::as_array) {
        for (to, from) in out.random.iter_mut().zip(bytes) {
            *to = from.as_u53().unwrap_or(0) as u8;
        }
    }
    out
}

fn address(text: &str, compat: bool) -> Result<String, RuleError> {
    let node = IbGib::parse(text, if compat { Mode::Compat } else { Mode::Strict })?;
    if node.gib.as_deref() == Some("gib") && node.data.is_none() && node.rel8ns.is_none() {
        // A primitive: it has a name instead of a hash.
        return Ok(format!("{}^gib", node.ib));
    }
    if compat {
        let gib = compat::get_gib(&node).map_err(|e| RuleError::new("compat", e))?;
        return Ok(format!("{}^{gib}", node.ib));
    }
    Ok(node.seal()?.addr().to_string())
}

pub(crate) fn addr(out: &Output, mode: &args::Mode) -> Result<Exit, CliError> {
    let mut failed = 0;
    for line in lines() {
        match line.and_then(|text| address(&text, mode.compat).map_err(LineError::Bad)) {
            Ok(addr) => out.item(&Addressed(addr))?,
            Err(bad) => {
                failed += 1;
                answer_bad(out, bad)?;
            }
        }
    }
    ended(failed)
}

fn check(text: &str, compat: bool) -> Vec<RuleError> {
    if !compat {
        return Verified::parse(text).err().map(|e| vec![e.into()]).unwrap_or_default();
    }
    let node = match IbGib::parse(text, Mode::Compat) {
        Ok(node) => node,
        Err(error) => return vec![error.into()],
    };
    match compat::validate_intrinsically(&node) {
        Ok(all) => all.iter().map(|e| RuleError::new("compat", e)).collect(),
        Err(throws) => vec![RuleError::new("compat", throws)],
    }
}

pub(crate) fn verify(out: &Output, mode: &args::Mode) -> Result<Exit, CliError> {
    let mut failed = 0;
    for line in lines() {
        let errors = match line {
            Ok(text) => check(&text, mode.compat),
            Err(LineError::Bad(bad)) => vec![bad],
            Err(LineError::Fatal(error)) => return Err(error),
        };
        failed += usize::from(!errors.is_empty());
        out.item(&Checked { errors, full: false })?;
    }
    ended(failed)
}

fn read_frame(path: &Path) -> Result<String, CliError> {
    let mut text = String::new();
    let read = match path == Path::new("-") {
        true => std::io::stdin().read_to_string(&mut text),
        false => std::fs::File::open(path).and_then(|mut f| f.read_to_string(&mut text)),
    };
    read.map_err(|e| match e.kind() {
        std::io::ErrorKind::InvalidData => {
            CliError::rule("json", format!("{}: not UTF-8", path.display())).about(path.display().to_string())
        }
        _ => CliError::io(path, &e),
    })?;
    Ok(text)
}

pub(crate) fn validate(out: &Output, options: &args::KeystoneValidate) -> Result<Exit, CliError> {
    if options.prev == Path::new("-") && options.next == Path::new("-") {
        return Err(CliError::usage("only one of the two frames can come from stdin"));
    }
    let (prev, next) = (read_frame(&options.prev)?, read_frame(&options.next)?);
    let errors = if options.compat { validate_compat(&prev, &next) } else { validate_strict(&prev, &next, options) };
    let checked = Checked { errors, full: true };
    out.report(&checked)?;
    match checked.errors.first() {
        None => Ok(Exit::Done),
        Some(first) => {
            Err(CliError::rule(&first.rule, first.message.clone()).about(options.next.display().to_string()))
        }
    }
}

fn validate_compat(prev: &str, next: &str) -> Vec<RuleError> {
    let parse = |text: &str| IbGib::parse(text, Mode::Compat);
    let frames = parse(prev).and_then(|prev| Ok((prev, parse(next)?)));
    match frames {
        Err(error) => vec![error.into()],
        Ok((prev, next)) => match ibgib_keystone::compat::validate(&prev, &next) {
            Ok(all) => all.iter().map(|e| RuleError::new("compat", e)).collect(),
            Err(throws) => vec![RuleError::new("compat", throws)],
        },
    }
}

fn validate_strict(prev: &str, next: &str, options: &args::KeystoneValidate) -> Vec<RuleError> {
    let frames = Verified::parse(prev).and_then(|prev| Ok((prev, Verified::parse(next)?)));
    let (prev, next) = match frames {
        Ok(frames) => frames,
        Err(error) => return vec![error.into()],
    };
    let expect = Expect {
        verb: options.verb.clone(),
        target: options.target.clone(),
        demanded: (!options.demand.is_empty()).then(|| options.demand.clone()),
        ..Expect::default()
    };
    match ibgib_keystone::danger::validate_alone(&prev, &next, &expect) {
        Ok(()) => Vec::new(),
        Err(all) => all.iter().map(|e| RuleError::new(e.rule(), e)).collect(),
    }
}
