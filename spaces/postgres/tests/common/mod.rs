//! A database for each test, on the server that IBGIB_POSTGRES names.
#![allow(dead_code, reason = "each test binary uses a part")]

use ibgib_postgres::PostgresSpace;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_postgres::{Client, NoTls};

/// The server's URL, without the database.
#[allow(clippy::disallowed_methods, reason = "where the server is, only who started it knows")]
pub(crate) fn server() -> String {
    let url = std::env::var("IBGIB_POSTGRES").unwrap_or_else(|_| {
        panic!(
            "these tests need PostgreSQL: run them by `tools/postgres cargo test -p ibgib-postgres`, which starts one, \
             or name a server in which databases may be made: IBGIB_POSTGRES=postgres://USER@HOST/postgres"
        )
    });
    url.rsplit_once('/').expect("the URL names a database").0.to_owned()
}

/// Speaks to a database without a space.
pub(crate) async fn raw(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Makes an empty database; answers its URL.
pub(crate) async fn database() -> String {
    static NTH: AtomicU64 = AtomicU64::new(0);
    let name = format!("t{}_{}", std::process::id(), NTH.fetch_add(1, Ordering::Relaxed));
    let server = server();
    let client = raw(&format!("{server}/postgres")).await;
    client.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.unwrap();
    client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    format!("{server}/{name}")
}

/// An empty space in a database of its own.
pub(crate) async fn fresh() -> PostgresSpace {
    PostgresSpace::open_or_create(&database().await).await.unwrap()
}
