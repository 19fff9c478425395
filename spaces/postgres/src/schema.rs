//! The tables, and how they come to be: numbered migrations, each in a file of its own, of which a database has had the
//! first few. A database that has had one that is not known here is left alone.

use crate::error::fail;
use deadpool_postgres::Object;
use ibgib_spaces::SpaceError;
use tokio_postgres::error::SqlState;

/// One file each, in order; what has been released is never changed.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001.sql"),
    include_str!("../migrations/0002.sql"),
    include_str!("../migrations/0003.sql"),
    include_str!("../migrations/0004.sql"),
    include_str!("../migrations/0005.sql"),
];

/// Held while a database is brought to the present version, so that of servers that start together one does it.
const MIGRATING: i64 = 0x1b61_b001;

/// The version of a database: how many migrations it has had. `None`: there is no space in it.
pub(crate) async fn version(client: &Object) -> Result<Option<i32>, SpaceError> {
    match client.query_one("SELECT coalesce(max(version), 0) FROM ibgib.migrations", &[]).await {
        Ok(row) => Ok(Some(row.try_get(0).map_err(fail)?)),
        Err(e) if matches!(e.code(), Some(c) if [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME].contains(c)) => {
            Ok(None)
        }
        Err(error) => Err(fail(error)),
    }
}

/// Whether a database of this version needs no migration.
pub(crate) fn is_present(version: i32) -> Result<bool, SpaceError> {
    let known = MIGRATIONS.len() as i32;
    if version > known {
        return Err(SpaceError::Newer { found: version as u32, known: known as u32 });
    }
    Ok(version == known)
}

/// Brings a database to the present version, an empty one, too.
pub(crate) async fn migrate(client: &mut Object) -> Result<(), SpaceError> {
    let txn = client.transaction().await.map_err(fail)?;
    txn.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATING]).await.map_err(fail)?;
    // Asked of the tables themselves, after the lock: what this connection knew of names before may be out of date. The
    // schema may have been made by somebody who is allowed to.
    let there = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'ibgib'),
        EXISTS (SELECT FROM pg_tables WHERE schemaname = 'ibgib' AND tablename = 'migrations')";
    let row = txn.query_one(there, &[]).await.map_err(fail)?;
    if !row.try_get::<_, bool>(0).map_err(fail)? {
        txn.batch_execute("CREATE SCHEMA ibgib").await.map_err(fail)?;
    }
    if !row.try_get::<_, bool>(1).map_err(fail)? {
        let table = "CREATE TABLE ibgib.migrations (version integer PRIMARY KEY, at timestamptz DEFAULT now())";
        txn.batch_execute(table).await.map_err(fail)?;
    }
    let row = txn.query_one("SELECT coalesce(max(version), 0) FROM ibgib.migrations", &[]).await.map_err(fail)?;
    let version: i32 = row.try_get(0).map_err(fail)?;
    if is_present(version)? {
        // Somebody else was faster.
        return txn.commit().await.map_err(fail);
    }
    for (at, migration) in MIGRATIONS.iter().enumerate().skip(version as usize) {
        txn.batch_execute(migration).await.map_err(fail)?;
        let version = at as i32 + 1;
        txn.execute("INSERT INTO ibgib.migrations (version) VALUES ($1)", &[&version]).await.map_err(fail)?;
        tracing::info!(version, "the database was migrated");
    }
    if version == 0 {
        let mut id = [0; 32];
        getrandom::fill(&mut id).map_err(|e| SpaceError::Io(e.to_string()))?;
        txn.execute("INSERT INTO ibgib.space (id) VALUES ($1)", &[&&id[..]]).await.map_err(fail)?;
    }
    txn.commit().await.map_err(fail)
}

/// The space's id, and its revision.
pub(crate) async fn read_space(client: &Object) -> Result<(String, u64), SpaceError> {
    let row = client.query_opt("SELECT id, revision FROM ibgib.space", &[]).await.map_err(fail)?;
    let row = row.ok_or_else(|| SpaceError::Damaged("the database's space has no row".into()))?;
    let (id, revision): (Vec<u8>, i64) = (row.try_get(0).map_err(fail)?, row.try_get(1).map_err(fail)?);
    Ok((hex::encode(id), revision as u64))
}
