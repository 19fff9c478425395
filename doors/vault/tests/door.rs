//! The vault as its clients meet it: over real sockets, status by status and word by word.

mod common;

use common::{Client, Served, change, log_in, put, seed, served, sign_up};
use ibgib_spaces::MemorySpace;
use ibgib_vault::account::Admission;
use serde_json::{Value, json};
use std::sync::Arc;

fn error(text: &str) -> Value {
    json!({"error": text})
}

#[tokio::test]
async fn every_answer_is_the_originals() {
    let (server, client) = served(Admission::All).await;
    let joe = "joe@example.com";
    // Sign up, seed, login.
    assert_eq!(client.post("/signup", &sign_up(joe, "12345678")).await, (201, json!({"verified": true})));
    let again = client.post("/signup", &sign_up("JOE@example.com", "12345678")).await;
    assert_eq!(again, (409, error("Conflict: Error registering")));
    assert_eq!(client.seed(joe).await, (200, json!({"clientSaltSeed": seed()})));
    assert_eq!(client.seed("ann@example.com").await, (404, error("Not Found: No match for email")));
    for bad in
        ["/client-salt-seed", "/client-salt-seed?email=", "/client-salt-seed?email=!!", "/client-salt-seed?email=YQ=="]
    {
        assert_eq!(client.get(bad).await, (400, error("Bad Request: Invalid email")));
    }
    // As the original client sends it: with the line break of its encoder.
    let (status, _) = client.get("/client-salt-seed?email=am9lQGV4YW1wbGUuY29t%0A").await;
    assert_eq!(status, 200);
    let wrong = (401, error("Unauthorized: No match for email and/or password"));
    assert_eq!(client.post("/auth/full", &log_in(joe, "87654321", "laptop")).await, wrong);
    assert_eq!(client.post("/auth/full", &log_in("ann@example.com", "87654321", "laptop")).await, wrong);
    let (status, token) = client.post("/auth/full", &log_in("Joe@Example.com", "12345678", "laptop %s")).await;
    assert_eq!(status, 200);
    let text = token["token"].as_str().unwrap().to_owned();
    assert_eq!(
        (text.len(), token.clone()),
        (
            64,
            json!({
                "token": text, "deviceId": "laptop %s", "scope": "*", "userId": 1, "expiration": null
            })
        )
    );
    // Wallets.
    let unknown = (401, error("Unauthorized: Token Not Found"));
    let get = format!("/wallet?token={text}");
    assert_eq!(client.get("/wallet").await, (400, error("Bad Request: Missing token parameter")));
    assert_eq!(client.get("/wallet?token=").await, (400, error("Bad Request: Missing token parameter")));
    assert_eq!(client.get("/wallet?token=nonsense").await, unknown);
    assert_eq!(client.get(&get).await, (404, error("Not Found: No wallet")));
    assert_eq!(client.post("/wallet", &put("nonsense", 1, "w1")).await, unknown);
    let early = client.post("/wallet", &put(&text, 2, "w2")).await;
    assert_eq!(early, (409, error("Conflict: Bad sequence number")));
    let first = json!({"encryptedWallet": "w1", "sequence": 1, "hmac": "h1"});
    assert_eq!(client.post("/wallet", &put(&text, 1, "w1")).await, (200, first.clone()));
    assert_eq!(client.get(&get).await, (200, first.clone()));
    let mut late = first.clone();
    late["error"] = "Conflict: Bad sequence number".into();
    assert_eq!(client.post("/wallet", &put(&text, 1, "other")).await, (409, late));
    // A new login of a device ends its old token.
    let (_, second) = client.post("/auth/full", &log_in(joe, "12345678", "laptop %s")).await;
    assert_eq!(client.get(&get).await, unknown);
    let text = second["token"].as_str().unwrap().to_owned();
    // The password.
    let changed = |old: &str, wallet: Option<u64>| change(joe, old, "abcdefgh", wallet);
    assert_eq!(client.post("/password", &changed("87654321", Some(2))).await, wrong);
    let exists = "Conflict: Wallet exists; need an updated wallet when changing password";
    assert_eq!(client.post("/password", &changed("12345678", None)).await, (409, error(exists)));
    let sequence = "Conflict: Bad sequence number or wallet does not exist";
    assert_eq!(client.post("/password", &changed("12345678", Some(1))).await, (409, error(sequence)));
    assert_eq!(client.post("/password", &changed("12345678", Some(2))).await, (200, json!({})));
    assert_eq!(client.get(&format!("/wallet?token={text}")).await, unknown);
    assert_eq!(client.post("/auth/full", &log_in(joe, "12345678", "laptop")).await, wrong);
    let (status, third) = client.post("/auth/full", &log_in(joe, "abcdefgh", "laptop")).await;
    assert_eq!((status, third["userId"].clone()), (200, json!(1)));
    let (_, wallet) = client.get(&format!("/wallet?token={}", third["token"].as_str().unwrap())).await;
    assert_eq!(wallet, json!({"encryptedWallet": "w2", "sequence": 2, "hmac": "h2"}));
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_request_is_told_in_the_originals_words() {
    let (server, client) = served(Admission::All).await;
    for path in ["/signup", "/auth/full", "/password", "/client-salt-seed", "/wallet", "/verify"] {
        let (status, body) = client.ask("DELETE", path, "").await;
        assert_eq!((status, body), (405, "{\"error\":\"Method Not Allowed\"}\n".into()), "{path}");
    }
    assert_eq!(client.get("/signup").await, (405, error("Method Not Allowed")));
    let bad = |why: &str| (400, error(&format!("Bad Request: {why}")));
    for body in ["", "{", "null", "[]", "7"] {
        assert_eq!(client.post_text("/signup", body).await, bad("Error parsing JSON"), "{body}");
    }
    assert_eq!(client.post_text("/signup", r#"{"emial":"x"}"#).await, bad("json: unknown field \"emial\""));
    let failed = |why: &str| bad(&format!("Request failed validation: {why}"));
    let invalid = client.post("/signup", &sign_up("Joe <joe@example.com>", "12345678")).await;
    assert_eq!(invalid, failed("Invalid or missing 'email'"));
    assert_eq!(client.post("/auth/full", &log_in("joe", "12345678", "d")).await, failed("Invalid 'email'"));
    let short = client.post("/auth/full", &log_in("joe@example.com", "1234567", "d")).await;
    assert_eq!(short, failed("Invalid or missing 'password'"));
    assert_eq!(client.post("/wallet", &put("t", 0, "w")).await, failed("Missing or zero-value 'sequence'"));
    let large = format!("{{\"token\":\"{}\"}}", "x".repeat(100_000));
    assert_eq!(client.post_text("/wallet", &large).await, (413, error("Request Entity Too Large")));
    assert_eq!(client.post("/verify/resend", &json!({})).await.0, 403);
    // Where nothing is.
    for path in ["/", "/nothing", "/wallet/", "/auth"] {
        assert_eq!(client.get(path).await, (404, error("Not Found: Unknown Endpoint")), "{path}");
    }
    let version = error("Not Found: Wrong API version. Current version is 3.");
    for path in ["/api/", "/api/2/wallet", "/api/v9/x"] {
        assert_eq!(client.ask_whole("GET", path).await, (404, version.clone()), "{path}");
    }
    // Beside the server's own API, which stays its own.
    let main = Client::of(&server.main_url());
    let (status, body) = main.ask_whole("GET", "/api/v1/nothing").await;
    assert_eq!((status, body["error"]["code"].as_str()), (404, Some("not_found")));
    // An answer calls itself text, as the original's do.
    let head = client.head("GET", "/api/3/nothing").await;
    assert!(head.contains("content-type: text/plain") && head.contains("x-content-type-options: nosniff"), "{head}");
    server.stop().await;
}

#[tokio::test]
async fn who_may_sign_up_can_change_while_it_is_served() {
    let (server, client) = served(Admission::Nobody).await;
    let refused = (403, error("Forbidden: Account not whitelisted"));
    let ann = sign_up("Ann@example.com", "12345678");
    assert_eq!(client.post("/signup", &ann).await, refused);
    server.vault.admit(Admission::Listed(vec!["ann@example.com".into()]));
    // Compared as typed.
    assert_eq!(client.post("/signup", &ann).await, refused);
    server.vault.admit(Admission::Listed(vec!["Ann@example.com".into()]));
    assert_eq!(client.post("/signup", &ann).await, (201, json!({"verified": true})));
    server.stop().await;
}

#[tokio::test]
async fn addresses_are_verified_by_links() {
    let dir = tempfile::tempdir().unwrap();
    let mails = dir.path().join("mails");
    let command = format!("cat >> {}", mails.display());
    let server = Served::start(Arc::new(MemorySpace::new("vault")), Admission::ByLink, Some(command)).await;
    let client = Client::of(&server.url());
    let joe = "Joe@example.com";
    let links = || -> Vec<String> {
        let text = std::fs::read_to_string(&mails).unwrap();
        let mail = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        let to_joe = |mail: &Value| assert_eq!(mail["to"], joe);
        text.lines().map(mail).inspect(to_joe).map(|mail| mail["link"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(client.post("/signup", &sign_up(joe, "12345678")).await, (201, json!({"verified": false})));
    let unverified = (401, error("Unauthorized: Account is not verified"));
    assert_eq!(client.post("/auth/full", &log_in(joe, "12345678", "d")).await, unverified);
    assert_eq!(client.post("/password", &change(joe, "12345678", "abcdefgh", None)).await, unverified);
    assert_eq!(client.ask("GET", "/verify/resend", "").await.0, 405);
    assert_eq!(client.post("/verify/resend", &json!({"email": joe})).await, (200, json!({})));
    let nobody = client.post("/verify/resend", &json!({"email": "ann@example.com"})).await;
    assert_eq!(nobody, (401, error("Unauthorized: No match for email")));
    let sent = links();
    let path = |link: &str| link.strip_prefix(&format!("{}/api/3", server.url())).unwrap().to_owned();
    let gone = "The verification token was not found, already used, or expired. If you want to try again, generate a \
                new one from your app.\n";
    // The second link took the first one's place.
    assert_eq!(client.ask("GET", &path(&sent[0]), "").await, (403, gone.into()));
    assert_eq!(client.ask("GET", &path(&sent[1]), "").await, (200, "Your account has been verified.".into()));
    assert_eq!(client.ask("GET", &path(&sent[1]), "").await, (403, gone.into()));
    let missing = "There seems to be a problem with this URL: Missing verifyToken parameter\n";
    assert_eq!(client.ask("GET", "/verify", "").await, (400, missing.into()));
    let verified = client.post("/verify/resend", &json!({"email": joe})).await;
    assert_eq!(verified, (409, error("Conflict: Account is already verified")));
    assert_eq!(client.post("/auth/full", &log_in(joe, "12345678", "d")).await.0, 200);
    // Nobody's mail box is filled.
    let mut last = 0;
    for _ in 0..6 {
        last = client.post("/verify/resend", &json!({"email": joe})).await.0;
    }
    assert_eq!(last, 429);
    server.stop().await;
}

#[tokio::test]
async fn an_account_has_so_many_tokens_and_the_oldest_goes() {
    let (server, client) = served(Admission::All).await;
    client.post("/signup", &sign_up("joe@example.com", "12345678")).await;
    let log_in = async |device: String| client.token("joe@example.com", "12345678", &device).await;
    let oldest = log_in("oldest".into()).await;
    let live = futures_util::future::join_all((1..=100).map(|n| log_in(format!("device {n}")))).await;
    assert_eq!(client.wallet(&oldest).await.0, 401);
    for token in live {
        // There is no wallet yet.
        assert_eq!(client.wallet(&token).await.0, 404);
    }
    server.stop().await;
}

#[tokio::test]
async fn counters_have_the_originals_names() {
    let (server, client) = served(Admission::All).await;
    client.get("/wallet?token=x").await;
    client.post("/wallet", &json!({})).await;
    client.post("/wallet", &json!({})).await;
    let metrics = client.text("/metrics").await;
    for line in [
        "wallet_sync_requests_count{method=\"GET\",endpoint=\"wallet\"} 1",
        "wallet_sync_requests_count{method=\"POST\",endpoint=\"wallet\"} 2",
        "wallet_sync_error_count{error_type=\"ws-client-notify\"} 0",
        "wallet_sync_error_count{error_type=\"ws-user-remove\"} 0",
        "ibgib_vault_sockets 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    server.stop().await;
}
