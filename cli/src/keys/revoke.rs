//! `sealdex keys revoke`: takes from users of an index what was granted to them.

use super::Outcome;
use super::api::Api;
use super::error::KeysError;
use crate::connect::IndexKeyArgs;
use clap::Args;
use serde_json::json;

/// Options of `sealdex keys revoke`.
#[derive(Args)]
pub(super) struct RevokeArgs {
    /// The index
    index: String,

    /// The users, as `sealdex keys list` shows them
    #[arg(
        required_unless_present = "all",
        conflicts_with = "all",
        value_name = "USER_ID"
    )]
    users: Vec<String>,

    /// All users of the index
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    index_key: IndexKeyArgs,
}

pub(super) async fn run(args: RevokeArgs, mut api: Api) -> Result<Outcome, KeysError> {
    let info = api.key(&args.index).await?;
    let key = api.owners_key(&info, &args.index_key)?;
    let mut api = api.with_index_key(key.as_ref().map(|key| key.expose()))?;
    let users = match args.all {
        true => info.users.into_iter().map(|user| user.user_id).collect(),
        false => args.users,
    };
    for user in &users {
        api.revoke(&args.index, user).await?;
    }
    let left = api.key(&args.index).await?.users;
    let text = format!(
        "Revoked {} of index '{}'; {} left.\n",
        counted(users.len()),
        args.index,
        counted(left.len())
    );
    Ok(Outcome {
        text,
        json: json!({"index_name": args.index, "revoked": users, "users": left}),
    })
}

fn counted(users: usize) -> String {
    match users {
        1 => "1 user".to_owned(),
        n => format!("{n} users"),
    }
}
