//! The document of the HTTP API and the routes that are served: none without the other.

mod common;

use common::{World, http, text, token};
use ibgib::{Mode, Value};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;

/// `GET /path` of every `.route("/path", get(…).put(…))` of a source file.
fn routes(file: &str, prefix: &str) -> BTreeSet<String> {
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)).unwrap();
    let source = source.replace("ibgib_peer::SYNC_PATH", &format!("{:?}", ibgib_peer::SYNC_PATH));
    let mut out = BTreeSet::new();
    for line in source.lines() {
        let Some((path, handlers)) = line.trim().strip_prefix(".route(\"").and_then(|l| l.split_once("\", ")) else {
            assert!(!line.trim().starts_with(".route("), "{file}: a route that this test cannot read: {line}");
            continue;
        };
        let methods = ["get", "post", "put", "delete", "patch", "head", "options", "any"];
        let methods: Vec<_> = methods.into_iter().filter(|m| handlers.contains(&format!("{m}("))).collect();
        assert!(!methods.is_empty(), "{file}: {line}");
        out.extend(methods.into_iter().map(|m| format!("{} {prefix}{path}", m.to_uppercase())));
    }
    out
}

#[test]
fn the_openapi_document_names_every_route_and_no_other() {
    let world = World::new();
    let server = world.serve("server");
    let told = common::get(&server.url, "/api/v1/openapi.json");
    let document = Value::parse(&told, Mode::Strict).unwrap();
    let mut documented = BTreeSet::new();
    for (path, methods) in document.get("paths").and_then(Value::as_object).unwrap().iter() {
        let methods = methods.as_object().unwrap().keys();
        documented.extend(methods.map(|m| format!("{} {path}", m.to_uppercase())));
    }
    let mut served = routes("server/src/api.rs", "");
    assert!(served.len() >= 9, "{served:#?}");
    let tools = routes("dev-tools/src/lib.rs", "/dev-tools/api");
    // The page itself is no API.
    served.extend(tools.into_iter().filter(|route| route != "GET /dev-tools/api/dev-tools"));
    // What answers that there is no such route is none.
    assert!(served.remove("ANY /api/v1/{*path}"));
    assert_eq!(documented, served);
}

/// What an answer has that its schema does not say, or lacks that it does. Knows the keywords that the document uses.
fn differences(schema: &Value, value: &Value, document: &Value, at: &str) -> Vec<String> {
    let list = |key: &str| schema.get(key).and_then(Value::as_array).unwrap_or_default();
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let found = reference.trim_start_matches("#/").split('/').try_fold(document, |at, part| at.get(part));
        return differences(found.unwrap_or_else(|| panic!("{reference}")), value, document, at);
    }
    if !list("oneOf").is_empty() {
        let mut all = list("oneOf").iter().map(|one| differences(one, value, document, at));
        return all.clone().find(Vec::is_empty).or_else(|| all.next()).unwrap();
    }
    let mut out = Vec::new();
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.fract() == 0.0 => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    match schema.get("type") {
        Some(Value::String(one)) if one != kind => out.push(format!("{at} is {kind}, not {one}")),
        Some(Value::Array(some)) if !some.iter().any(|k| k.as_str() == Some(kind)) => {
            out.push(format!("{at} is {kind}, not {}", schema.get("type").unwrap()));
        }
        _ => {}
    }
    if !list("enum").is_empty() && !list("enum").contains(value) {
        out.push(format!("{at} is {value}"));
    }
    if let (Some(items), Value::Array(values)) = (schema.get("items"), value) {
        out.extend(values.iter().enumerate().flat_map(|(i, v)| differences(items, v, document, &format!("{at}[{i}]"))));
    }
    if let (Some(properties), Value::Object(members)) = (schema.get("properties"), value) {
        for (name, member) in members.iter() {
            match properties.get(name) {
                Some(schema) => out.extend(differences(schema, member, document, &format!("{at}.{name}"))),
                None => out.push(format!("{at}.{name} is not documented")),
            }
        }
        let missing = list("required").iter().filter_map(Value::as_str).filter(|name| members.get(name).is_none());
        out.extend(missing.map(|name| format!("{at}.{name} is missing")));
    }
    out
}

#[test]
fn what_is_answered_is_what_the_openapi_document_says() {
    let world = World::new();
    let (server, page) = world.serve_tools("127.0.0.1:0", &["open"]);
    let document = Value::parse(&common::get(&server.url, "/api/v1/openapi.json"), Mode::Strict).unwrap();
    let bearer = format!("Bearer {}", token(&page));
    let checked = |template: &str, method: &str, path: &str| {
        let (status, answer) = http(&server.url, method, path, &[("Authorization", &bearer)]);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let kind = head.lines().find_map(|l| l.strip_prefix("content-type: ")).unwrap();
        let parts =
            ["paths", template, &method.to_lowercase(), "responses", &status.to_string(), "content", kind, "schema"];
        let schema = parts.iter().try_fold(&document, |at, part| at.get(part));
        let schema =
            schema.unwrap_or_else(|| panic!("{method} {path} answered {status} {kind}, which is not documented"));
        // A streamed answer has the lengths of its pieces between its lines.
        let lines = body.lines().filter(|line| line.starts_with(['{', '[']));
        let values =
            lines.map(|line| Value::parse(line, Mode::Strict).unwrap_or_else(|e| panic!("{path}: {e}: {line}")));
        let mut values: Vec<Value> = values.collect();
        for value in &values {
            assert_eq!(differences(schema, value, &document, path), Vec::<String>::new());
        }
        values.pop().unwrap_or_else(|| panic!("{path}: no JSON in {answer}"))
    };
    let tools = |path: &str, of: &str| checked(&format!("/dev-tools/api{of}"), "GET", &format!("/dev-tools/api{path}"));
    let look = || {
        for path in ["/overview", "/rows", "/state", "/faults", "/spaces", "/doors", "/sagas"] {
            tools(path, path);
        }
        for path in ["/keystones", "/conflicts", "/names", "/timelines?kind=all"] {
            let of = format!("/spaces/{{space}}{}", path.split('?').next().unwrap());
            tools(&format!("/spaces/server{path}"), &of);
            tools(&format!("/spaces/rows{path}"), &of);
        }
    };
    look();
    for step in ["setup", "sync", "check"] {
        let path = format!("/dev-tools/api/rows/4-10b/{step}");
        let done = checked("/dev-tools/api/rows/{id}/{step}", "POST", &path);
        assert_eq!(done.get("passed"), Some(&true.into()), "{done}");
    }
    checked("/dev-tools/api/rows/{id}/{step}", "POST", "/dev-tools/api/rows/3b/check");
    checked("/dev-tools/api/rows/{id}/{step}", "POST", "/dev-tools/api/rows/9b/setup");
    checked("/dev-tools/api/fullsync", "POST", "/dev-tools/api/fullsync");
    checked("/dev-tools/api/spaces/{space}/fsck", "POST", "/dev-tools/api/spaces/server/fsck");
    // A device, whose files have names.
    world.write("alice/notes.txt", "one\n");
    world.run(&["init", "alice", "--remote", &server.url]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    look();
    let tip = tools("/spaces/server/timelines?kind=living&limit=1", "/spaces/{space}/timelines");
    let named = tools("/spaces/server/timelines?find=NOTES", "/spaces/{space}/timelines");
    assert_eq!(text(&named.get("tips").and_then(Value::as_array).unwrap()[0], "name"), "notes.txt");
    let tip = tip.get("tips").and_then(Value::as_array).unwrap()[0].clone();
    let (tjp, tip) = (text(&tip, "tjp").replace('^', "%5E"), text(&tip, "tip").replace('^', "%5E"));
    tools(&format!("/spaces/server/timeline?tjp={tjp}"), "/spaces/{space}/timeline");
    tools(&format!("/spaces/server/node?addr={tip}"), "/spaces/{space}/node");
    for (path, of) in [
        ("/spaces/server/node", "/spaces/{space}/node"),
        ("/spaces/server/node?addr=nothing%5Egib", "/spaces/{space}/node"),
        ("/spaces/nowhere/keystones", "/spaces/{space}/keystones"),
        ("/spaces/server/timelines?limit=0", "/spaces/{space}/timelines"),
    ] {
        assert!(tools(path, of).get("error").is_some(), "{path}");
    }
    for (path, of) in [
        ("/api/v1/health".to_owned(), "/api/v1/health"),
        (format!("/api/v1/ibgibs/{tip}"), "/api/v1/ibgibs/{addr}"),
        (format!("/api/v1/ibgibs/{tip}?getGraph=true"), "/api/v1/ibgibs/{addr}"),
        (format!("/api/v1/tips/{tjp}"), "/api/v1/tips/{addr}"),
        ("/api/v1/tips?ib=folder".to_owned(), "/api/v1/tips"),
        ("/api/v1/tips".to_owned(), "/api/v1/tips"),
        (format!("/api/v1/tips/x%5E{}", "A".repeat(64)), "/api/v1/tips/{addr}"),
        ("/api/v1/tips/nonsense".to_owned(), "/api/v1/tips/{addr}"),
        (format!("/api/v1/ibgibs/x%5E{}", "A".repeat(64)), "/api/v1/ibgibs/{addr}"),
        ("/api/v1/ibgibs/nonsense".to_owned(), "/api/v1/ibgibs/{addr}"),
    ] {
        checked(of, "GET", &path);
    }

    // The stream of events has no end to wait for.
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let request = "GET /dev-tools/api/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization:";
    stream.write_all(format!("{request} {bearer}\r\n\r\n").as_bytes()).unwrap();
    let event = ["components", "schemas", "Event"].iter().try_fold(&document, |at, part| at.get(part)).unwrap();
    let mut kinds = BTreeSet::new();
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let data = Value::parse(data, Mode::Strict).unwrap();
        assert_eq!(differences(event, &data, &document, "event"), Vec::<String>::new());
        kinds.insert(text(&data, "kind").to_owned());
        if text(&data, "text").starts_with("3B fullsync passed") {
            break;
        }
    }
    for kind in ["registered", "evolved", "opened", "connected", "phase", "message", "done", "closed", "row"] {
        assert!(kinds.contains(kind), "{kind}");
    }
}

#[test]
fn every_reference_of_the_openapi_document_leads_somewhere() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/src/openapi.json");
    let text = fs::read_to_string(file).unwrap();
    let document = Value::parse(&text, Mode::Strict).unwrap();
    let references: BTreeSet<&str> =
        text.split("\"$ref\": \"#/").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(references.contains("components/schemas/Error"));
    for reference in references {
        let found = reference.split('/').try_fold(&document, |at, part| at.get(part));
        assert!(found.is_some(), "{reference}");
    }
}
