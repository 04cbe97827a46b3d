//! An IDaaS to try the whole chain without a tenant: `cargo run --example fake_idaas`, then set the `[idaas]` table that it prints.
#![expect(clippy::print_stdout, reason = "it says how to use it")]
#![expect(
    clippy::unwrap_used,
    reason = "the fake is shared with the tests, which fail by panicking"
)]

use bamboohook::event::Dialect;
use bamboohook::simulator::sample_message;
use serde_json::json;
use tokio::net::TcpListener;

#[expect(dead_code, reason = "faults are for the tests")]
#[path = "../tests/it/support/fake_idaas/mod.rs"]
mod fake_idaas;

use fake_idaas::FakeIdaas;

const HEADQUARTERS: &str = "20200223170310946-ORG-000000001";
const SALES: &str = "20200223170310946-ORG-000000002";
const NAMES: [&str; 6] = ["张三", "李四", "王小明", "赵敏", "欧阳娜娜", "陈 R&D"];

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8090".to_owned());
    let fake = FakeIdaas::on(TcpListener::bind(&address).await?);
    fake.put_organization(json!({
        "org_id": HEADQUARTERS, "parent_id": null, "name": "总部", "org_code": "hq",
        "disabled": false, "updated_at": "2026-07-01 09:00:00",
    }));
    fake.put_organization(json!({
        "org_id": SALES, "parent_id": HEADQUARTERS, "name": "销售", "org_code": "sales",
        "disabled": "false", "updated_at": "2026-07-01 09:00:00",
    }));
    // As many as `bamboohook send --count` has subjects.
    for number in 0..1000 {
        fake.put_user(user(number));
    }
    println!(
        "[idaas]\nbase_url = \"{}\"\nclient_id = \"{}\"\nclient_secret = \"{}\"",
        fake.url(),
        fake_idaas::CLIENT_ID,
        fake_idaas::CLIENT_SECRET,
    );
    tokio::signal::ctrl_c().await
}

/// The user that `bamboohook send USER_LOGIN` names as its `number`th subject, with types as mixed as the vendor's.
fn user(number: u32) -> serde_json::Value {
    let name = NAMES.iter().cycle().nth(number as usize).copied().unwrap_or_default();
    let username = format!("zhangsan{number}");
    json!({
        "user_id": sample_message(Dialect::Ciam, "USER_LOGIN", number),
        "org_id": SALES,
        "user_name": username,
        "name": name,
        "mobile": format!("189{number:08}"),
        "email": format!("{username}@example.com"),
        "disabled": false,
        "locked": "false",
        "created_at": "2026-07-01 09:30:00",
        "updated_at": "2026-07-09 23:21:53",
        "extension": {"employee_number": number},
        "user_org_relation_list": [{"org_id": SALES, "relation_type": 1}],
    })
}
