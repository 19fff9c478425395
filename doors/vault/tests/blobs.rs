//! Thirteen encrypted wallets that the original's own page prints, written by the original client.

use ibgib_vault::blob;
use serde_json::{Map, Value};

/// Up to which sequence a root password was in use.
const PASSWORDS: [(u64, &str); 4] = [(7, "123abc2"), (9, "eggsandwich"), (12, "starboard"), (13, "ihatesockets")];

fn blobs() -> Map<String, Value> {
    serde_json::from_str(include_str!("blobs.json")).unwrap()
}

fn preference(wallet: &Value, key: &str) -> String {
    let value = wallet.pointer(&format!("/preferences/{key}/value"));
    value.and_then(Value::as_str).unwrap_or("").to_owned()
}

#[test]
fn all_open_and_tell_the_story() {
    let story = [
        (1, "", ""),
        (2, "", ""),
        (3, "cow", ""),
        (4, "cow", "Audi"),
        (5, "horse", "Audi"),
        (6, "beaver", "Audi"),
        (7, "beaver", "Toyota"),
        (8, "beaver", "Toyota"),
        (9, "leemur", "Toyota"),
        (10, "leemur", "Toyota"),
        (11, "leemur", "Toyota"),
        (12, "leemur", "Toyota"),
        (13, "leemur", "Toyota"),
    ];
    let blobs = blobs();
    assert_eq!(blobs.len(), story.len());
    for (sequence, animal, car) in story {
        let (_, password) = PASSWORDS.iter().find(|(last, _)| sequence <= *last).unwrap();
        let blob = blobs[&sequence.to_string()].as_str().unwrap();
        let wallet: Value = serde_json::from_str(&blob::open(blob, password).unwrap()).unwrap();
        assert_eq!(preference(&wallet, "animal"), animal, "{sequence}");
        assert_eq!(preference(&wallet, "car"), car, "{sequence}");
        assert!(blob::open(blob, "another").is_err());
    }
}
