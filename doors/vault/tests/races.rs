//! Requests at the same time: one writer wins, and no token and no socket outlives a change of the password.

mod common;

use common::{Client, Served, change, log_in, put, served, sign_up};
use futures_util::future::join_all;
use ibgib_spaces::{DurableSpace, MemorySpace, Space};
use ibgib_vault::account::Admission;
use std::sync::Arc;

const JOE: &str = "joe@example.com";

/// How often two writers race, and how often logins race a change of the password, which is slow on purpose.
const WRITES: u64 = 50;
const CHANGES: u64 = 10;
/// Logins that race one change.
const LOGINS: u64 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let space = Arc::new(DurableSpace::open_or_create(dir.path()).unwrap());
    let server = Served::start(space, Admission::All, None).await;
    let client = Client::of(&server.url());
    client.post("/signup", &sign_up(JOE, "12345678")).await;
    let tokens = [client.token(JOE, "12345678", "a").await, client.token(JOE, "12345678", "b").await];
    for sequence in 1..=WRITES {
        let names = ["a", "b"].map(|name| format!("{name}{sequence}"));
        let bodies = [0, 1].map(|at| put(&tokens[at], sequence, &names[at]));
        let told = join_all(bodies.iter().map(|body| client.post("/wallet", body))).await;
        let won = told.iter().position(|(status, _)| *status == 200).unwrap();
        let (status, lost) = &told[1 - won];
        // The loser is told what is there now.
        assert_eq!((*status, lost["sequence"].as_u64()), (409, Some(sequence)));
        assert_eq!(lost["encryptedWallet"], names[won].as_str());
        assert_eq!(client.wallet(&tokens[1 - won]).await.1["encryptedWallet"], names[won].as_str());
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_and_no_socket_outlives_a_change_of_the_password() {
    let (server, client) = served(Admission::All).await;
    client.post("/signup", &sign_up(JOE, "password0")).await;
    let mut given = 0;
    for race in 0..CHANGES {
        let (old, new) = (format!("password{race}"), format!("password{}", race + 1));
        let before = client.token(JOE, &old, "before").await;
        let logins = join_all((0..LOGINS).map(|n| {
            let (client, body) = (client.clone(), log_in(JOE, &old, &format!("device {n}")));
            async move { client.post("/auth/full", &body).await }
        }));
        let sockets = join_all((0..3).map(|_| client.socket_or_not(&before)));
        let body = change(JOE, &old, &new, None);
        let (logins, sockets, changed) = tokio::join!(logins, sockets, client.post("/password", &body));
        assert_eq!(changed.0, 200, "{}", changed.1);
        for (status, token) in logins {
            if status == 200 {
                given += 1;
                assert_eq!(client.wallet(token["token"].as_str().unwrap()).await.0, 401, "race {race}");
            } else {
                assert_eq!(status, 401, "{token}");
            }
        }
        assert_eq!(client.wallet(&before).await.0, 401);
        for mut socket in sockets.into_iter().flatten() {
            assert_eq!(socket.next().await, None);
        }
    }
    // Otherwise nothing raced.
    assert!(given > 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_has_one_token_however_often_it_logs_in_at_once() {
    let (server, client) = served(Admission::All).await;
    client.post("/signup", &sign_up(JOE, "12345678")).await;
    let tokens = join_all((0..20).map(|_| client.token(JOE, "12345678", "laptop"))).await;
    let asked = join_all(tokens.iter().map(|token| client.wallet(token))).await;
    // 404: there is no wallet yet.
    assert_eq!(asked.iter().filter(|(status, _)| *status == 404).count(), 1);
    assert_eq!(asked.iter().filter(|(status, _)| *status == 401).count(), 19);
    server.stop().await;
}

#[tokio::test]
async fn sockets_are_told_of_every_sequence_and_end_with_the_password() {
    let (server, client) = served(Admission::All).await;
    client.post("/signup", &sign_up(JOE, "12345678")).await;
    let (a, b) = (client.token(JOE, "12345678", "a").await, client.token(JOE, "12345678", "b").await);
    assert_eq!(client.socket("").await.err(), Some(400));
    assert_eq!(client.socket("?token=nonsense").await.err(), Some(401));
    assert_eq!(client.ask("GET", &format!("/websocket?token={a}"), "").await, (400, "Bad Request\n".into()));
    let mut sockets =
        [client.socket(&format!("?token={a}")).await.unwrap(), client.socket(&format!("?token={b}")).await.unwrap()];
    for sequence in 1..=3 {
        assert_eq!(client.post("/wallet", &put(&a, sequence, "w")).await.0, 200);
        // The writer's, too.
        for socket in &mut sockets {
            assert_eq!(socket.next().await, Some(format!("wallet-update:{sequence}")));
        }
    }
    assert_eq!(client.post("/password", &change(JOE, "12345678", "abcdefgh", Some(4))).await.0, 200);
    for socket in &mut sockets {
        assert_eq!(socket.next().await, None);
    }
    assert_eq!(client.socket(&format!("?token={a}")).await.err(), Some(401));
    // A stop of the server closes what is open.
    let c = client.token(JOE, "abcdefgh", "a").await;
    let mut socket = client.socket(&format!("?token={c}")).await.unwrap();
    let (closed, ()) = tokio::join!(socket.next(), server.stop());
    assert_eq!(closed, None);
}

/// Two servers over one space are one vault: what is written at one is told at the other, a race over both has one winner,
/// and when one of them is gone the other one goes on.
#[tokio::test(flavor = "multi_thread")]
async fn two_vaults_over_one_space_are_one() {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("vault"));
    let start = async || Served::start(Arc::clone(&space), Admission::All, None).await;
    let servers = [start().await, start().await];
    let clients = servers.each_ref().map(|server| Client::of(&server.url()));
    clients[0].post("/signup", &sign_up(JOE, "12345678")).await;
    let tokens = [clients[1].token(JOE, "12345678", "a").await, clients[0].token(JOE, "12345678", "b").await];
    let query = format!("?token={}", tokens[1]);
    let mut old =
        [clients[0].socket(&query).await.unwrap(), clients[1].socket(&format!("?token={}", tokens[0])).await.unwrap()];
    for sequence in 1..=6 {
        let bodies = [0, 1].map(|at| put(&tokens[at], sequence, &format!("{at} {sequence}")));
        let told = join_all(clients.iter().zip(&bodies).map(|(client, body)| client.post("/wallet", body))).await;
        let mut statuses = told.iter().map(|(status, _)| *status).collect::<Vec<_>>();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409]);
        for socket in &mut old {
            assert_eq!(socket.next().await, Some(format!("wallet-update:{sequence}")));
        }
    }
    // The sockets at both end with the password; what connects after that stays.
    assert_eq!(clients[1].post("/password", &change(JOE, "12345678", "abcdefgh", Some(7))).await.0, 200);
    let token = clients[0].token(JOE, "abcdefgh", "b").await;
    let query = format!("?token={token}");
    let sockets = [clients[0].socket(&query).await.unwrap(), clients[1].socket(&query).await.unwrap()];
    for socket in &mut old {
        while let Some(told) = socket.next().await {
            assert_eq!(told, "wallet-update:7");
        }
    }
    let [first, second] = servers;
    let [mut at_first, mut at_second] = sockets;
    // The one that let go of what works no more.
    let (closed, ()) = tokio::join!(at_first.next(), first.stop());
    assert_eq!(closed, None);
    assert_eq!(clients[1].post("/wallet", &put(&token, 8, "w")).await.0, 200);
    assert_eq!(at_second.next().await, Some("wallet-update:8".to_owned()));
    let (closed, ()) = tokio::join!(at_second.next(), second.stop());
    assert_eq!(closed, None);
}
