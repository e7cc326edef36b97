//! `sealdex keys list`: of every index, who holds its key and which users it has.

use super::Outcome;
use super::api::{Api, KeyInfo};
use super::error::KeysError;
use crate::output::{aligned, printable};
use clap::Args;
use serde_json::json;
use std::fmt::Write;

/// Options of `sealdex keys list`.
#[derive(Args)]
pub(super) struct ListArgs {
    /// Tell of these indexes only
    indexes: Vec<String>,
}

pub(super) async fn run(args: ListArgs, mut api: Api) -> Result<Outcome, KeysError> {
    let names = match args.indexes.is_empty() {
        true => api.names().await?,
        false => args.indexes,
    };
    let mut infos = Vec::with_capacity(names.len());
    for name in names {
        infos.push(api.key(&name).await?);
    }
    Ok(Outcome {
        text: table(&infos),
        json: json!({"indexes": infos}),
    })
}

/// A line for each index, and one below it for each of its users.
pub(super) fn table(infos: &[KeyInfo]) -> String {
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(infos.iter().map(row));
    let mut text = String::new();
    for (n, line) in aligned(&rows).into_iter().enumerate() {
        text += &line;
        text.push('\n');
        let users = n.checked_sub(1).map_or(&[][..], |n| &infos[n].users);
        for user in users {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "  user {}  {}", user.user_id, user.permissions.join(", "));
        }
    }
    text
}

const HEADINGS: [&str; 7] = [
    "INDEX",
    "KEY HELD BY",
    "UNDER",
    "EPOCH",
    "VERSION",
    "WRAPPED",
    "CREATED",
];

fn row(info: &KeyInfo) -> [String; HEADINGS.len()] {
    let none = || "-".to_owned();
    let (held, under, version, wrapped) = match &info.wrapped {
        None => ("its owner".to_owned(), none(), none(), none()),
        Some(wrapped) => {
            let under = [&wrapped.key_id, &wrapped.region].map(String::as_str);
            let under: Vec<&str> = under.into_iter().filter(|part| !part.is_empty()).collect();
            (
                format!("{} ({})", wrapped.kms_name, info.provider),
                if under.is_empty() {
                    none()
                } else {
                    under.join(" in ")
                },
                wrapped.version.to_string(),
                utc(wrapped.wrapped_at),
            )
        }
    };
    [
        printable(&info.index_name),
        held,
        under,
        info.epoch.to_string(),
        version,
        wrapped,
        utc(info.created_at),
    ]
}

/// Seconds since 1970 as date and minute (H. Hinnant, "chrono-compatible low-level date algorithms", civil_from_days).
fn utc(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute) = (seconds % 86_400 / 3_600, seconds % 3_600 / 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::super::api::{User, Wrapped};
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (951_868_800, "2000-03-01 00:00 UTC"),
            (1_767_225_600, "2026-01-01 00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(utc(seconds), expected);
        }
    }

    #[test]
    fn a_table_names_holder_key_and_users() {
        let owned = KeyInfo {
            index_name: "books\u{1b}[2J".into(),
            created_at: 0,
            epoch: 1,
            provider: "none".into(),
            wrapped: None,
            users: vec![User {
                user_id: "ab".into(),
                permissions: vec!["read".into(), "write".into()],
            }],
        };
        let wrapped = Wrapped {
            kms_name: "prod".into(),
            key_id: "alias/x".into(),
            region: "eu-west-1".into(),
            version: 1,
            wrapped_at: 0,
        };
        let held = KeyInfo {
            index_name: "films".into(),
            provider: "aws-kms".into(),
            wrapped: Some(wrapped),
            users: Vec::new(),
            ..owned.clone()
        };
        let text = table(&[owned, held]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("INDEX") && !text.contains('\u{1b}'));
        assert!(lines[1].contains("its owner"), "{text}");
        assert_eq!(lines[2], "  user ab  read, write");
        assert!(
            lines[3].contains("prod (aws-kms)") && lines[3].contains("alias/x in eu-west-1"),
            "{text}"
        );
    }
}
