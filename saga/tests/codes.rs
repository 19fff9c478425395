//! The table of codes, as the program has it and as the documents tell it.

use ibgib::{Mode, Value};
use ibgib_saga::{Code, Refusal};
use std::collections::BTreeSet;
use std::fs;

fn read(file: &str) -> String {
    fs::read_to_string(format!("{}/../{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn each_code_stands_once_and_is_read_back() {
    let texts: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(texts.len(), Code::ALL.len());
    for code in Code::ALL {
        assert_eq!(Refusal::read(code.as_str()), Refusal::Known(*code));
    }
    assert_eq!(Refusal::read("of_another_version").as_str(), "of_another_version");
}

#[test]
fn the_protocols_document_has_the_same_table() {
    let document = read("docs/protocol.md");
    let (_, table) = document.split_once("| code | status | blame | meaning |\n|---|---|---|---|\n").unwrap();
    let told: Vec<&str> = table.lines().take_while(|line| line.starts_with('|')).collect();
    let row =
        |code: &Code| format!("| `{code}` | {} | {} | {} |", code.status(), code.blame().as_str(), code.meaning());
    let rows: Vec<String> = Code::ALL.iter().map(row).collect();
    assert_eq!(told, rows, "docs/protocol.md should have\n{}", rows.join("\n"));
}

#[test]
fn the_openapi_document_has_the_same_codes_and_no_other_statuses() {
    let document = Value::parse(&read("server/src/openapi.json"), Mode::Strict).unwrap();
    let at = |path: &[&str]| path.iter().try_fold(&document, |at, part| at.get(part)).unwrap();
    let code = at(&["components", "schemas", "Error", "properties", "error", "properties", "code"]);
    let told = code.get("examples").and_then(Value::as_array).unwrap();
    let codes: Vec<Value> = Code::ALL.iter().map(|code| code.as_str().into()).collect();
    assert_eq!(told, codes, "{}", Value::from(codes.clone()));
    let statuses: BTreeSet<u16> = Code::ALL.iter().map(|code| code.status()).collect();
    for (path, methods) in at(&["paths"]).as_object().unwrap().iter() {
        for (_, operation) in methods.as_object().unwrap().iter() {
            for (status, _) in operation.get("responses").and_then(Value::as_object).unwrap().iter() {
                let status: u16 = status.parse().unwrap();
                assert!(status < 400 || statuses.contains(&status), "{path}: no code has the status {status}");
            }
        }
    }
}

/// The codes in the command's list of exits are ours, or the command's own.
#[test]
fn the_commands_document_names_codes_that_exist() {
    const OF_THE_COMMAND: [&str; 1] = ["port_in_use"];
    let document = read("docs/command.md");
    let (_, exits) = document.split_once("| exit | |\n").unwrap();
    let named = exits.lines().take_while(|line| line.starts_with('|')).filter_map(|line| line.split_once("codes "));
    for (_, codes) in named {
        let codes: Vec<&str> = codes.split('`').skip(1).step_by(2).collect();
        assert!(!codes.is_empty());
        for code in codes {
            let known = OF_THE_COMMAND.contains(&code) || matches!(Refusal::read(code), Refusal::Known(_));
            assert!(known, "docs/command.md names {code}");
        }
    }
}
