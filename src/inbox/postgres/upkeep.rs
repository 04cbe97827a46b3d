//! Looks whether the database is fine as a store. Changes nothing and reads no event.

use tokio_postgres::Client;
use tokio_postgres::Error;

use crate::inbox::Finding;
use crate::inbox::PostgresOptions;
use crate::inbox::copy::TABLES;
use crate::inbox::postgres::failure::while_opening;

pub(in crate::inbox) async fn check(options: &PostgresOptions) -> Vec<Finding> {
    let found = match options.examine().await {
        Ok(found) => found,
        Err(error) => return vec![Finding::failed("reachable", &error)],
    };
    let tls = match found.tls {
        true => "on",
        false if options.is_exposed_without_tls() => {
            "off: passwords and events can be read on their way; set sslmode in store.url"
        }
        false => "off",
    };
    let schema = Finding::of_schema(found.schema_found, found.schema_known);
    let complete = schema.fine;
    let mut findings = vec![
        Finding::fine("reachable", options.shown()),
        Finding::fine("server", format!("PostgreSQL {}", found.server_version)),
        Finding::fine("tls", tls),
        schema,
    ];
    if complete {
        if found.writable {
            let asked = async { rights(&options.client().await?).await };
            findings.push(said(options, "writable", asked.await));
        } else {
            let cure = "this server only reads, as a standby does; name the primary or all servers in store.url";
            findings.push(Finding::wrong("writable", cure));
        }
        let counted = async { content(&options.reading().client().await?).await };
        findings.push(said(options, "content", counted.await));
    }
    findings
}

fn said(options: &PostgresOptions, what: &'static str, result: Result<Finding, Error>) -> Finding {
    result.unwrap_or_else(|cause| Finding::failed(what, &while_opening(options.shown(), &cause)))
}

async fn rights(client: &Client) -> Result<Finding, Error> {
    let tables: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
    let lacking = client
        .query_opt(
            "SELECT name, needed
             FROM unnest($1::text[]) AS tables (name),
                  unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS rights (needed)
             WHERE NOT has_table_privilege(name, needed)
             LIMIT 1",
            &[&tables],
        )
        .await?;
    let Some(row) = lacking else { return Ok(Finding::fine("writable", "yes")) };
    let (table, right): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
    let cure = format!("the user may not {right} in {table}; grant it that, or own the tables");
    Ok(Finding::wrong("writable", cure))
}

async fn content(client: &Client) -> Result<Finding, Error> {
    let row = client
        .query_one(
            "SELECT (SELECT count(*) FROM events),
                    (SELECT count(*) FROM deliveries WHERE state <= 1),
                    (SELECT count(*) FROM deliveries WHERE state = 3)",
            &[],
        )
        .await?;
    Ok(Finding::of_content(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
}
