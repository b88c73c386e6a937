//! Who may call what: tokens with roles, from a file.

use std::fs;
use std::path::Path;

use tonic::Status;

use super::statuses::status;
use crate::failure::Failure;

/// Bytes of a token.
const TOKEN_LEN_MAX: usize = 1024;
/// Tokens of a file.
const TOKENS_MAX: usize = 10_000;
/// Bytes of the file.
const FILE_LEN_MAX: u64 = 16 * 1024 * 1024;

/// What a caller may do; no role includes another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Looking at jobs and workers.
    Read,
    /// Submitting, cancelling and retrying jobs.
    Submit,
    /// Computing shards.
    Work,
}

impl Role {
    const ALL: [Role; 3] = [Role::Read, Role::Submit, Role::Work];

    fn name(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Submit => "submit",
            Role::Work => "work",
        }
    }
}

/// Whom calls are answered. Holds tokens: shows none of them.
pub(crate) struct Access(Option<Vec<Grant>>);

struct Grant {
    roles: Vec<Role>,
    token: String,
}

impl Access {
    /// Whoever gets a connection may call everything.
    pub(crate) fn open() -> Access {
        Access(None)
    }

    /// Who brings a token of this file may do what it says there: a line `ROLE[,ROLE...] TOKEN` each; what follows
    /// `#` at the beginning of a line, and empty lines, mean nothing.
    ///
    /// # Errors
    /// [`Failure::Usage`] naming the file and the line, never a token.
    pub(crate) fn read(path: &Path) -> Result<Access, Failure> {
        let cannot =
            |error: &dyn std::fmt::Display| Failure::Usage(format!("{}: {error}", path.display()));
        let unreadable = |error: std::io::Error| cannot(&format!("cannot be read: {error}"));
        let len = fs::metadata(path).map_err(unreadable)?.len();
        if len > FILE_LEN_MAX {
            return Err(cannot(&format!(
                "at most {FILE_LEN_MAX} bytes long, found {len}"
            )));
        }
        let text = fs::read_to_string(path).map_err(unreadable)?;
        parse(&text).map_err(|error| Failure::Usage(format!("{}:{error}", path.display())))
    }

    /// Lets a caller pass who brings this header `authorization`.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` for no token and for one that is not known; `PERMISSION_DENIED` for one without the role.
    pub(super) fn check(&self, authorization: Option<&[u8]>, role: Role) -> Result<(), Status> {
        let Some(grants) = &self.0 else {
            return Ok(());
        };
        let Some(token) = authorization.and_then(bearer) else {
            return Err(Status::unauthenticated(
                "expected a token, as metadata `authorization: Bearer TOKEN`",
            ));
        };
        // All are compared, whichever it is.
        let mut found = None;
        for grant in grants {
            if is_same(token, grant.token.as_bytes()) {
                found = Some(grant);
            }
        }
        let Some(grant) = found else {
            return Err(Status::unauthenticated("the token is not known here"));
        };
        if grant.roles.contains(&role) {
            return Ok(());
        }
        let names: Vec<&str> = grant.roles.iter().map(|role| role.name()).collect();
        let told = format!(
            "the call takes the role `{}`, the token has {}",
            role.name(),
            names.join(", ")
        );
        Err(status(tonic::Code::PermissionDenied, told))
    }
}

/// What follows the scheme, whose case says nothing.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked("Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then_some(token.trim_ascii())
}

/// Compares without telling, by the time that it takes, how much of the known text was right.
fn is_same(brought: &[u8], known: &[u8]) -> bool {
    let mut differs = u8::from(brought.len() != known.len());
    for (at, byte) in brought.iter().enumerate() {
        // Known tokens are not empty.
        differs |= byte ^ known[at % known.len()];
        differs = std::hint::black_box(differs);
    }
    differs == 0
}

/// The grants of a file; else what is wrong, behind the line's number.
fn parse(text: &str) -> Result<Access, String> {
    let mut grants: Vec<Grant> = Vec::new();
    let mut lines: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what: &str| Err(format!("{number}: {what}"));
        let mut words = line.split_ascii_whitespace();
        let (Some(roles), Some(token), None) = (words.next(), words.next(), words.next()) else {
            return wrong("expected `ROLE[,ROLE...] TOKEN`");
        };
        if token.len() > TOKEN_LEN_MAX || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return wrong(&format!(
                "expected a token of at most {TOKEN_LEN_MAX} visible ASCII characters"
            ));
        }
        if let Some(before) = lines.insert(token, number) {
            return wrong(&format!(
                "the token is also in line {before}; expected it once"
            ));
        }
        if grants.len() == TOKENS_MAX {
            return wrong(&format!("expected at most {TOKENS_MAX} tokens"));
        }
        let role = |name: &str| Role::ALL.into_iter().find(|role| role.name() == name);
        let roles: Option<Vec<Role>> = roles.split(',').map(role).collect();
        let Some(roles) = roles else {
            // The word is not repeated: it may be a token where somebody mixed them up.
            return wrong("expected roles among read, submit and work, with commas between them");
        };
        grants.push(Grant {
            roles,
            token: token.to_owned(),
        });
    }
    if grants.is_empty() {
        return Err("1: expected at least one line `ROLE[,ROLE...] TOKEN`".to_owned());
    }
    Ok(Access(Some(grants)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    #[test]
    fn tokens_have_the_roles_of_their_line() {
        let access = parse("# who\n\nread look-123\n  submit,read\tboth-456 \nwork w\n").unwrap();
        let code = |header: Option<&str>, role| {
            let checked = access.check(header.map(str::as_bytes), role);
            checked.err().map(|status| status.code())
        };
        assert_eq!(code(Some("Bearer look-123"), Role::Read), None);
        assert_eq!(code(Some("bearer both-456"), Role::Submit), None);
        assert_eq!(code(Some("Bearer w"), Role::Work), None);
        assert_eq!(
            code(Some("Bearer w"), Role::Read),
            Some(Code::PermissionDenied)
        );
        assert_eq!(
            code(Some("Bearer look-123"), Role::Submit),
            Some(Code::PermissionDenied)
        );
        for header in [
            None,
            Some(""),
            Some("Bearer "),
            Some("Bearer"),
            Some("Basic look-123"),
        ] {
            assert_eq!(
                code(header, Role::Read),
                Some(Code::Unauthenticated),
                "{header:?}"
            );
        }
        for wrong in ["look-12", "look-1234", "look-124", "ww", "look-123look-123"] {
            let header = format!("Bearer {wrong}");
            assert_eq!(
                code(Some(&header), Role::Read),
                Some(Code::Unauthenticated),
                "{wrong}"
            );
        }
        assert!(Access::open().check(None, Role::Work).is_ok());
    }

    #[test]
    fn a_wrong_line_is_told_by_its_number_and_no_token_is() {
        for (text, line) in [
            ("read secret\nsecret\n", "2: "),
            ("read secret extra\n", "1: "),
            ("secret read\n", "1: "),
            ("read,admin secret\n", "1: "),
            (
                "# nothing\nread secret\n\nsubmit secret\n",
                "4: the token is also in line 2",
            ),
            ("read secrét\n", "1: "),
            ("# nothing\n", "1: "),
            (&format!("read {}", "x".repeat(TOKEN_LEN_MAX + 1)), "1: "),
        ] {
            let told = parse(text).err().unwrap();
            assert!(told.starts_with(line), "{text}: {told}");
            assert!(!told.contains("secr") && !told.contains("xx"), "{told}");
        }
        assert!(parse(&format!("read {}", "x".repeat(TOKEN_LEN_MAX))).is_ok());
    }
}
