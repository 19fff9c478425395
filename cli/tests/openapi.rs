//! The document of the HTTP API and the routes that are served: none without the other.

mod common;

use common::World;
use ibgib::{Mode, Value};
use std::collections::BTreeSet;
use std::fs;
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
    assert_eq!(documented, served);
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
