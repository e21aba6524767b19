//! Who may ask what: bearer tokens, each with a role.

use std::{collections::BTreeMap, fmt, str::FromStr};

use axum::http::{HeaderMap, header};

/// What a token allows. A later role includes the ones before, but for [`Role::Worker`], which is for values alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look at runs and workflows.
    Read,
    /// Also submit, cancel and register.
    Operate,
    /// Fetch and store values.
    Worker,
}

/// Tokens and their roles. Without any, everything is allowed, and HTTP is served on loopback only.
#[derive(Clone, Default)]
pub struct Tokens(BTreeMap<String, Role>);

/// A list of tokens that cannot be read. Says nothing of the tokens themselves.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No `role:token`.
    #[error("token {0} of the list is not written as role:token")]
    Shape(usize),
    /// No such role.
    #[error("token {0} of the list has the role {1:?}; there are read, operate and worker")]
    Role(usize, String),
    /// Too short to keep anybody out.
    #[error("token {0} of the list has fewer than 16 characters")]
    Short(usize),
}

/// The shortest token that is accepted.
const TOKEN_LENGTH_MIN: usize = 16;

/// Whether a call is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    /// No token, or none that is known.
    Unknown,
    /// A token of another role.
    Forbidden,
}

impl Tokens {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a call with `headers` may do what `needed` allows.
    pub(crate) fn allow(&self, needed: Role, headers: &HeaderMap) -> Verdict {
        if self.is_empty() {
            return Verdict::Allowed;
        }
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(token) = given.and_then(|value| value.strip_prefix("Bearer ")) else { return Verdict::Unknown };
        let roles: Vec<Role> =
            self.0.iter().filter(|(known, _)| is_same(known, token)).map(|(_, role)| *role).collect();
        let suffices = |role: &Role| match (needed, role) {
            (Role::Worker, role) => *role == Role::Worker,
            (_, Role::Worker) => false,
            (needed, role) => *role >= needed,
        };
        match roles.iter().any(suffices) {
            true => Verdict::Allowed,
            false if roles.is_empty() => Verdict::Unknown,
            false => Verdict::Forbidden,
        }
    }
}

/// Takes as long for the first wrong letter as for the last.
fn is_same(known: &str, given: &str) -> bool {
    let differences = known.bytes().zip(given.bytes()).fold(0, |sum, (left, right)| sum | (left ^ right));
    known.len() == given.len() && differences == 0
}

impl FromStr for Tokens {
    type Err = Error;

    /// Reads `role:token` entries, parted by commas or line ends.
    fn from_str(text: &str) -> Result<Self, Error> {
        let entries = text.split([',', '\n']).map(str::trim).filter(|entry| !entry.is_empty());
        let mut tokens = BTreeMap::new();
        for (at, entry) in (1..).zip(entries) {
            let (role, token) = entry.split_once(':').ok_or(Error::Shape(at))?;
            let role = match role.trim() {
                "read" => Role::Read,
                "operate" => Role::Operate,
                "worker" => Role::Worker,
                other => return Err(Error::Role(at, other.to_owned())),
            };
            if token.trim().len() < TOKEN_LENGTH_MIN {
                return Err(Error::Short(at));
            }
            tokens.insert(token.trim().to_owned(), role);
        }
        Ok(Self(tokens))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(tokens: &Tokens, needed: Role, token: Option<&str>) -> Verdict {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().expect("valid"));
        }
        tokens.allow(needed, &headers)
    }

    #[test]
    fn a_role_allows_what_it_should() {
        let tokens: Tokens =
            "read:rrrrrrrrrrrrrrrr, operate:oooooooooooooooo\nworker:wwwwwwwwwwwwwwww".parse().expect("valid");
        let (read, operate, worker) = ("rrrrrrrrrrrrrrrr", "oooooooooooooooo", "wwwwwwwwwwwwwwww");
        assert_eq!(asks(&tokens, Role::Read, Some(read)), Verdict::Allowed);
        assert_eq!(asks(&tokens, Role::Operate, Some(read)), Verdict::Forbidden);
        assert_eq!(asks(&tokens, Role::Read, Some(operate)), Verdict::Allowed);
        assert_eq!(asks(&tokens, Role::Worker, Some(operate)), Verdict::Forbidden);
        assert_eq!(asks(&tokens, Role::Worker, Some(worker)), Verdict::Allowed);
        assert_eq!(asks(&tokens, Role::Read, Some(worker)), Verdict::Forbidden);
        assert_eq!(asks(&tokens, Role::Read, Some("rrrrrrrrrrrrrrrX")), Verdict::Unknown);
        assert_eq!(asks(&tokens, Role::Read, None), Verdict::Unknown);
        assert_eq!(asks(&Tokens::default(), Role::Operate, None), Verdict::Allowed);
    }

    #[test]
    fn a_bad_list_says_where_and_no_secret() {
        let error = |text: &str| text.parse::<Tokens>().expect_err("refused").to_string();
        assert!(error("read:aaaaaaaaaaaaaaaa,secretsecretsecret").starts_with("token 2"));
        assert!(!error("secretsecretsecret").contains("secret"));
        assert!(error("admin:aaaaaaaaaaaaaaaa").contains("admin"));
        assert!(error("read:short").contains("16"));
    }
}
