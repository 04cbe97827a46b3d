//! Messages as a tenant would send them, for each event of PROTOCOL.md 5. Names no real person.

use serde_json::json;

use crate::event::Action;
use crate::event::Dialect;
use crate::event::RecordKind;
use crate::event::routed;

const NAMES: [(&str, &str); 6] =
    [("张", "三"), ("李", "四"), ("王", "小明"), ("赵", "敏"), ("欧阳", "娜娜"), ("陈", "R&D")];

/// The dialect that an event belongs to by its name; `None` for a name that tells nothing.
pub fn dialect_of(event: &str) -> Option<Dialect> {
    let event = routed(event);
    if event.starts_with("USER_") {
        return Some(Dialect::Ciam);
    }
    (Action::of(Dialect::Eiam, &event) != Action::Other).then_some(Dialect::Eiam)
}

/// A message for `event` about the `number`th of many subjects; the same number is the same subject.
///
/// The records that UPDATE and DELETE name by id have other names than those that CREATE makes, so that
/// samples of all events can be sent in any order: a name belongs to one id.
pub fn sample_message(dialect: Dialect, event: &str, number: u32) -> String {
    let event = routed(event);
    if dialect == Dialect::Ciam {
        return format!("20200223170310946-34EE-{:09X}", 0x3_403B_F88A_u64 + u64::from(number));
    }
    let kind = RecordKind::of(dialect, &event);
    let id = match kind {
        Some(RecordKind::Organization) => format!("6c5bb468-14b2-4183-baf2-{number:012}"),
        Some(RecordKind::User) | None => format!("c3a26dd3-8e5b-4c9f-9d1a-{number:012}"),
    };
    match (Action::of(dialect, &event), kind) {
        (Action::CheckUrl, _) => format!("2852325935078{:06}", number % 1_000_000),
        (Action::Create, Some(RecordKind::User)) => created_user(number),
        (Action::Create, _) => json!({
            "code": format!("{}", 1_000_000 + u64::from(number)),
            "name": "研发 R&D & 销售",
            "parentId": "5b183439-36a8-4d08-94ba-61b3c8d40b66",
            "disabled": false,
            "leader": "zhangsan",
        })
        .to_string(),
        (Action::Update, Some(RecordKind::User)) => json!({
            "id": id,
            "username": format!("lisi{number}"),
            "mobile": mobile(number),
            "disabled": false,
        })
        .to_string(),
        (Action::Update, _) => json!({
            "id": id,
            "code": format!("{}", 5_000_000_000 + u64::from(number)),
            "name": "研发中心",
        })
        .to_string(),
        (Action::Delete, _) => json!({ "id": id }).to_string(),
        (Action::Other, _) => json!({ "id": id, "name": "示例" }).to_string(),
    }
}

fn created_user(number: u32) -> String {
    let name = NAMES.get(number as usize % NAMES.len());
    let (family, given) = name.copied().unwrap_or_default();
    let username = format!("zhangsan{number}");
    let organization = "391551e8-160f-4993-8177-e7b9c5f6aa01";
    json!({
        "username": username,
        "name": format!("{family}{given}"),
        "lastName": family,
        "firstName": given,
        "organizationId": organization,
        "organizationIds": [organization, "5b183439-36a8-4d08-94ba-61b3c8d40b66"],
        "disabled": false,
        "mobile": mobile(number),
        "email": format!("{username}@example.com"),
        "attrManagerId": "",
        "extAttr1": "value",
    })
    .to_string()
}

fn mobile(number: u32) -> String {
    format!("189{:08}", u64::from(number) % 100_000_000)
}

#[cfg(test)]
mod tests {
    use super::dialect_of;
    use super::sample_message;
    use crate::event::Dialect;
    use crate::event::Message;

    #[test]
    fn the_name_of_an_event_tells_its_dialect() {
        for event in ["CHECK_URL", "CREATE_USER", "DELETE_ORGANIZATION ", "UPDATE_GROUP"] {
            assert_eq!(dialect_of(event), Some(Dialect::Eiam), "{event}");
        }
        for event in ["USER_LOGIN", "USER_CREATE ", "USER_NEW_THING"] {
            assert_eq!(dialect_of(event), Some(Dialect::Ciam), "{event}");
        }
        assert_eq!(dialect_of("PING"), None);
    }

    #[test]
    fn eiam_samples_name_their_subject_and_differ_by_number() {
        for (event, attribute) in [
            ("CREATE_USER", "username"),
            ("UPDATE_USER", "id"),
            ("DELETE_USER", "id"),
            ("CREATE_ORGANIZATION", "code"),
            ("UPDATE_ORGANIZATION", "id"),
            ("DELETE_ORGANIZATION", "id"),
        ] {
            let subject = |number| {
                let message = Message::new(sample_message(Dialect::Eiam, event, number));
                message.attributes().unwrap().unwrap().name(attribute).unwrap()
            };
            assert_eq!(subject(1), subject(1), "{event}");
            assert_ne!(subject(1), subject(2), "{event}");
        }
    }

    #[test]
    fn ciam_samples_are_bare_ids_and_check_url_is_text() {
        let id = sample_message(Dialect::Ciam, "USER_LOGIN", 0);
        assert_eq!(id, "20200223170310946-34EE-3403BF88A");
        assert_ne!(sample_message(Dialect::Ciam, "USER_LOGIN", 999), id);
        assert!(Message::new(sample_message(Dialect::Eiam, "CHECK_URL", 7)).as_json().is_none());
    }
}
