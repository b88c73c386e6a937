//! Who may call what: tokens with roles, from a file that is read again when it changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use subtle::ConstantTimeEq;
use tonic::Status;

use crate::failure::Failure;
use crate::reload::Reload;
use crate::statuses::status;

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
    /// Submitting jobs that run programs, beside the role to submit jobs.
    Command,
    /// Reading metrics, and nothing else.
    Metrics,
}

impl Role {
    const ALL: [Role; 5] = [
        Role::Read,
        Role::Submit,
        Role::Work,
        Role::Command,
        Role::Metrics,
    ];

    fn name(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Submit => "submit",
            Role::Work => "work",
            Role::Command => "command",
            Role::Metrics => "metrics",
        }
    }
}

/// Whom calls are answered. Holds tokens: shows none of them.
pub(crate) struct Access {
    /// Where the tokens are; `None`: callers need none.
    file: Option<(PathBuf, Form)>,
    grants: RwLock<Arc<[Grant]>>,
}

/// What a file of tokens looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Lines `ROLE[,ROLE...] TOKEN`.
    Roles,
    /// A token a line, all for one role.
    Tokens(Role),
}

struct Grant {
    roles: Vec<Role>,
    token: String,
}

impl Access {
    /// Whoever gets a connection may call everything.
    pub(crate) fn open() -> Access {
        Access {
            file: None,
            grants: RwLock::new(Arc::new([])),
        }
    }

    /// Who brings a token of this file may do what it says there: a line `ROLE[,ROLE...] TOKEN` each; what follows
    /// `#` at the beginning of a line, and empty lines, mean nothing.
    ///
    /// # Errors
    /// [`Failure::Usage`] naming the file and the line, never a token.
    pub(crate) fn read(path: &Path) -> Result<Access, Failure> {
        Access::of(path, Form::Roles)
    }

    /// Who brings a token of this file may do what the role permits: a token a line.
    ///
    /// # Errors
    /// As [`Access::read`].
    pub(crate) fn read_plain(path: &Path, role: Role) -> Result<Access, Failure> {
        Access::of(path, Form::Tokens(role))
    }

    fn of(path: &Path, form: Form) -> Result<Access, Failure> {
        Ok(Access {
            grants: RwLock::new(grants(path, form)?),
            file: Some((path.to_owned(), form)),
        })
    }

    /// Whether callers need a token.
    pub(crate) fn is_guarded(&self) -> bool {
        self.file.is_some()
    }

    /// Lets a caller pass who brings this header `authorization`, where the token has one of the roles.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` for no token and for one that is not known; `PERMISSION_DENIED` for one without a role.
    pub(crate) fn check(&self, authorization: Option<&[u8]>, roles: &[Role]) -> Result<(), Status> {
        if self.file.is_none() {
            return Ok(());
        }
        let grants = Arc::clone(&self.grants.read());
        let Some(token) = authorization.and_then(bearer) else {
            return Err(Status::unauthenticated(
                "expected a token, as metadata `authorization: Bearer TOKEN`",
            ));
        };
        // All are compared, whichever it is.
        let mut found = None;
        for grant in grants.iter() {
            if is_same(token, grant.token.as_bytes()) {
                found = Some(grant);
            }
        }
        let Some(grant) = found else {
            return Err(Status::unauthenticated("the token is not known here"));
        };
        if roles.iter().any(|role| grant.roles.contains(role)) {
            return Ok(());
        }
        let names =
            |roles: &[Role]| -> Vec<&str> { roles.iter().map(|role| role.name()).collect() };
        let told = format!(
            "the call takes the role `{}`, the token has {}",
            names(roles).join("` or `"),
            names(&grant.roles).join(", ")
        );
        Err(status(tonic::Code::PermissionDenied, told))
    }
}

impl Reload for Access {
    fn files(&self) -> Vec<PathBuf> {
        self.file.iter().map(|(path, _)| path.clone()).collect()
    }

    fn reload(&self) -> Result<String, Failure> {
        let Some((path, form)) = &self.file else {
            return Ok("no tokens".to_owned());
        };
        let read = grants(path, *form)?;
        let told = format!("{} tokens of {}", read.len(), path.display());
        *self.grants.write() = read;
        Ok(told)
    }
}

/// The tokens of a file.
fn grants(path: &Path, form: Form) -> Result<Arc<[Grant]>, Failure> {
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
    // Some editors write a mark at the beginning that nobody sees.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let parsed = match form {
        Form::Roles => parse(text),
        Form::Tokens(role) => parse_plain(text, role),
    };
    let grants = parsed.map_err(|error| Failure::Usage(format!("{}:{error}", path.display())))?;
    Ok(grants.into())
}

/// What follows the scheme, whose case says nothing.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked("Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then_some(token.trim_ascii())
}

/// Compares two tokens; the time that it takes tells their lengths at most.
fn is_same(brought: &[u8], known: &[u8]) -> bool {
    brought.ct_eq(known).into()
}

/// The grants of a file; else what is wrong, behind the line's number.
fn parse(text: &str) -> Result<Vec<Grant>, String> {
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
        if let Some(what) = unfit(token) {
            return wrong(&what);
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
            return wrong(
                "expected roles among read, submit, work, command and metrics, with commas between them",
            );
        };
        grants.push(Grant {
            roles,
            token: token.to_owned(),
        });
    }
    if grants.is_empty() {
        return Err("1: expected at least one line `ROLE[,ROLE...] TOKEN`".to_owned());
    }
    Ok(grants)
}

/// What is wrong with a token, if anything.
fn unfit(token: &str) -> Option<String> {
    let is_fit = token.len() <= TOKEN_LEN_MAX && token.bytes().all(|byte| byte.is_ascii_graphic());
    (!is_fit)
        .then(|| format!("expected a token of at most {TOKEN_LEN_MAX} visible ASCII characters"))
}

/// The grants of a file that has a token a line; else what is wrong, behind the line's number.
fn parse_plain(text: &str, role: Role) -> Result<Vec<Grant>, String> {
    let mut grants = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let token = line.trim();
        if token.is_empty() || token.starts_with('#') {
            continue;
        }
        if let Some(what) = unfit(token) {
            return Err(format!("{number}: {what}"));
        }
        if grants.len() == TOKENS_MAX {
            return Err(format!("{number}: expected at most {TOKENS_MAX} tokens"));
        }
        grants.push(Grant {
            roles: vec![role],
            token: token.to_owned(),
        });
    }
    match grants.is_empty() {
        true => Err("1: expected a token, found none".to_owned()),
        false => Ok(grants),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    #[test]
    fn tokens_have_the_roles_of_their_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        fs::write(
            &path,
            "\u{feff}# who\n\nread look-123\n  submit,read\tboth-456 \nwork w\n",
        )
        .unwrap();
        let access = Access::read(&path).unwrap();
        let code = |header: Option<&str>, role| {
            let checked = access.check(header.map(str::as_bytes), &[role]);
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
        assert!(Access::open().check(None, &[Role::Work]).is_ok());
        // What is there next counts next; what cannot be read changes nothing.
        fs::write(&path, "read new\n").unwrap();
        access.reload().unwrap();
        assert_eq!(code(Some("Bearer new"), Role::Read), None);
        assert_eq!(
            code(Some("Bearer w"), Role::Work),
            Some(Code::Unauthenticated)
        );
        fs::write(&path, "read new\nread\n").unwrap();
        let told = access.reload().unwrap_err().to_string();
        assert!(told.contains("tokens:2: expected"), "{told}");
        assert_eq!(code(Some("Bearer new"), Role::Read), None);
    }

    #[test]
    fn plain_tokens_have_one_role() {
        let grants = parse_plain("# old\na-1\n\n b-2 \n", Role::Metrics).unwrap();
        let tokens: Vec<&str> = grants.iter().map(|grant| grant.token.as_str()).collect();
        assert_eq!(tokens, ["a-1", "b-2"]);
        assert!(grants.iter().all(|grant| grant.roles == [Role::Metrics]));
        for (bad, line) in [("", "1: "), ("a\nb c\n", "2: "), ("# a\n", "1: ")] {
            assert!(
                parse_plain(bad, Role::Metrics)
                    .err()
                    .unwrap()
                    .starts_with(line),
                "{bad}"
            );
        }
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
