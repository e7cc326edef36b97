//! Requests and replies about users of an index.

use super::SentKey;
use crate::service::{CreatedUser, KeyInput, Rights, ServiceError, UserListed};
use sealdex_core::UserId;
use serde::Serialize;
use utoipa::ToSchema;

/// A new user of an index.
#[derive(serde::Deserialize, ToSchema)]
pub(crate) struct CreateUserRequest {
    /// What the user may do: `read`, `write` or both.
    #[schema(example = json!(["read"]))]
    permissions: Vec<String>,
    /// The index's key, 64 hexadecimal digits; to be left out for a KMS-backed index.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    index_key: SentKey,
}

impl CreateUserRequest {
    /// In the service's words.
    pub(crate) fn into_parts(self) -> Result<(Rights, KeyInput), ServiceError> {
        Ok((rights(&self.permissions)?, self.index_key.into_input()?))
    }
}

fn rights(permissions: &[String]) -> Result<Rights, ServiceError> {
    let mut rights = Rights {
        read: false,
        write: false,
    };
    for permission in permissions {
        match permission.as_str() {
            "read" => rights.read = true,
            "write" => rights.write = true,
            _ => {
                return Err(ServiceError::invalid(
                    "permissions may hold 'read' and 'write' and nothing else.",
                ));
            }
        }
    }
    if rights.read || rights.write {
        Ok(rights)
    } else {
        Err(ServiceError::invalid(
            "permissions must include at least one of 'read', 'write'.",
        ))
    }
}

/// A user id as it stands in a path.
pub(crate) fn user_id(text: &str) -> Result<UserId, ServiceError> {
    text.parse()
        .map_err(|_| ServiceError::invalid("user_id must be 32 hexadecimal digits (16 bytes)."))
}

/// A user that was made. The key is shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct CreateUserResponse {
    /// The user, 32 hexadecimal digits.
    user_id: String,
    /// What the user sends in the header `X-API-Key`.
    api_key: String,
}

impl From<CreatedUser> for CreateUserResponse {
    fn from(made: CreatedUser) -> Self {
        Self {
            user_id: made.id.to_string(),
            api_key: made.token.expose().to_owned(),
        }
    }
}

/// A user and their permissions.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserInfo {
    user_id: String,
    permissions: Vec<&'static str>,
}

impl From<UserListed> for UserInfo {
    fn from(user: UserListed) -> Self {
        Self {
            user_id: user.id.to_string(),
            permissions: [("read", user.rights.read), ("write", user.rights.write)]
                .into_iter()
                .filter_map(|(name, granted)| granted.then_some(name))
                .collect(),
        }
    }
}

/// The users of an index, in the order in which they were made.
#[derive(Serialize, ToSchema)]
pub(crate) struct ListUsersResponse {
    users: Vec<UserInfo>,
}

impl From<Vec<UserListed>> for ListUsersResponse {
    fn from(users: Vec<UserListed>) -> Self {
        Self {
            users: users.into_iter().map(UserInfo::from).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_read_and_write_in_any_order_and_number() {
        let of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            rights(&names).ok().map(|rights| (rights.read, rights.write))
        };
        assert_eq!(of(&["read"]), Some((true, false)));
        assert_eq!(of(&["write", "write"]), Some((false, true)));
        assert_eq!(of(&["write", "read"]), Some((true, true)));
        for refused in [&[][..], &["admin"], &["read", "Write"], &[""]] {
            assert_eq!(of(refused), None, "{refused:?}");
        }
    }
}
