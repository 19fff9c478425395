//! Leases: who of many servers does what only one should. All times are by the database's clock.

use crate::error::fail;
use deadpool_postgres::Object;
use ibgib_spaces::SpaceError;
use std::time::Duration;

/// Takes a lease, if it is the holder's, has run out, or was never taken. Who is refused writes nothing: servers ask
/// for it all the time. Of two who take it at once the later one finds the row as the earlier one left it.
const TAKE: &str = "WITH taken AS (
        UPDATE ibgib.leases SET holder = $2, until = clock_timestamp() + $3 * interval '1 millisecond'
            WHERE name = $1 AND (holder = $2 OR until <= clock_timestamp()) RETURNING 1),
    made AS (
        INSERT INTO ibgib.leases (name, holder, until)
            SELECT $1, $2, clock_timestamp() + $3 * interval '1 millisecond'
            WHERE NOT EXISTS (SELECT FROM ibgib.leases WHERE name = $1)
            ON CONFLICT DO NOTHING RETURNING 1)
    SELECT EXISTS (SELECT FROM taken) OR EXISTS (SELECT FROM made)";

pub(crate) async fn take(client: &Object, name: &str, holder: &str, time: Duration) -> Result<bool, SpaceError> {
    let statement = client.prepare_cached(TAKE).await.map_err(fail)?;
    let ms = time.as_secs_f64() * 1_000.0;
    let row = client.query_one(&statement, &[&name.as_bytes(), &holder.as_bytes(), &ms]).await.map_err(fail)?;
    row.try_get(0).map_err(fail)
}

pub(crate) async fn give_up(client: &Object, name: &str, holder: &str) -> Result<(), SpaceError> {
    let sql = "DELETE FROM ibgib.leases WHERE name = $1 AND holder = $2";
    let statement = client.prepare_cached(sql).await.map_err(fail)?;
    client.execute(&statement, &[&name.as_bytes(), &holder.as_bytes()]).await.map_err(fail).map(drop)
}
