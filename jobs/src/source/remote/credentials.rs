//! Whether a bucket's credentials are set before anything is asked of it.
//!
//! The client of a store that finds none asks the metadata service of the machine, at an address that answers in clouds
//! alone: elsewhere the request leads nowhere, or to somebody who should not get it. So that is asked only if a setting
//! says so.

/// Says that the metadata service of the machine may be asked.
const INSTANCE: &str = "ECITON_INSTANCE_CREDENTIALS";

/// One way to have credentials: all of these variables are set.
type Way = &'static [&'static str];

/// What a store takes, and what to set.
struct Scheme {
    prefixes: &'static [&'static str],
    ways: &'static [Way],
    /// Variables that make any credentials needless where they are true.
    unsigned: &'static [&'static str],
    advice: &'static str,
}

const SCHEMES: [Scheme; 3] = [
    Scheme {
        prefixes: &["s3://", "s3a://"],
        ways: &[
            &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
            &["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"],
            &["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"],
            &["AWS_CONTAINER_CREDENTIALS_FULL_URI"],
            // Whoever names the service means it.
            &["AWS_METADATA_ENDPOINT"],
        ],
        unsigned: &["AWS_SKIP_SIGNATURE"],
        advice: "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (with AWS_SESSION_TOKEN if there is one), or \
                 AWS_SKIP_SIGNATURE=true for a bucket that asks for none",
    },
    Scheme {
        prefixes: &["gs://"],
        ways: &[
            &["GOOGLE_SERVICE_ACCOUNT"],
            &["GOOGLE_SERVICE_ACCOUNT_PATH"],
            &["GOOGLE_SERVICE_ACCOUNT_KEY"],
            &["GOOGLE_APPLICATION_CREDENTIALS"],
        ],
        unsigned: &["GOOGLE_SKIP_SIGNATURE"],
        advice: "GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT to the path of a key",
    },
    Scheme {
        prefixes: &["az://", "azure://", "abfs://", "abfss://"],
        ways: &[
            &["AZURE_STORAGE_ACCOUNT_KEY"],
            &["AZURE_STORAGE_ACCESS_KEY"],
            &["AZURE_STORAGE_MASTER_KEY"],
            &["AZURE_STORAGE_SAS_KEY"],
            &["AZURE_STORAGE_SAS_TOKEN"],
            &["AZURE_STORAGE_TOKEN"],
            &["AZURE_STORAGE_CLIENT_SECRET"],
            &["AZURE_CLIENT_SECRET"],
            &["AZURE_FEDERATED_TOKEN_FILE"],
            &["AZURE_MSI_ENDPOINT"],
            &["AZURE_IDENTITY_ENDPOINT"],
            &["IDENTITY_ENDPOINT"],
        ],
        unsigned: &[
            "AZURE_SKIP_SIGNATURE",
            "AZURE_STORAGE_USE_EMULATOR",
            "AZURE_USE_EMULATOR",
            "AZURE_USE_AZURE_CLI",
        ],
        advice: "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_STORAGE_SAS_TOKEN",
    },
];

/// Refuses a bucket without credentials.
///
/// # Errors
/// Which variables to set.
pub fn check(url: &str, environment: impl Fn(&str) -> Option<String>) -> Result<(), String> {
    let has_prefix =
        |scheme: &&Scheme| scheme.prefixes.iter().any(|prefix| url.starts_with(prefix));
    let Some(scheme) = SCHEMES.iter().find(has_prefix) else {
        return Ok(());
    };
    let is_set = |name: &&str| environment(name).is_some_and(|value| !value.is_empty());
    let is_true = |name: &&str| {
        let value = environment(name).unwrap_or_default().to_ascii_lowercase();
        ["1", "true", "on", "yes", "y"].contains(&value.as_str())
    };
    if is_true(&INSTANCE)
        || scheme.unsigned.iter().any(is_true)
        || scheme.ways.iter().any(|way| way.iter().all(&is_set))
        || url.starts_with("gs://") && has_default_credentials(&environment)
    {
        return Ok(());
    }
    let half = scheme.ways.iter().find(|way| way.iter().any(&is_set));
    let what = match half {
        Some(way) => {
            let missing = way.iter().find(|name| !is_set(name)).unwrap_or(&way[0]);
            format!("{missing} is not set")
        }
        None => "there are no credentials".to_owned(),
    };
    Err(format!(
        "{url}: {what}; set {}, or {INSTANCE}=true to ask the metadata service of this machine for some",
        scheme.advice
    ))
}

/// The file that Google's own tools leave.
fn has_default_credentials(environment: impl Fn(&str) -> Option<String>) -> bool {
    let home = environment("HOME").unwrap_or_default();
    let path =
        std::path::Path::new(&home).join(".config/gcloud/application_default_credentials.json");
    !home.is_empty() && path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(url: &str, set: &[(&str, &str)]) -> Result<(), String> {
        check(url, |name| {
            let mut set = set.iter();
            set.find_map(|(other, value)| (*other == name).then(|| (*value).to_owned()))
        })
    }

    #[test]
    fn a_bucket_needs_credentials_or_a_word() {
        let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
        assert_eq!(checked("s3://b/p", &keys), Ok(()));
        assert_eq!(
            checked("s3://b/p", &[("AWS_SKIP_SIGNATURE", "true")]),
            Ok(())
        );
        assert_eq!(checked("s3://b/p", &[(INSTANCE, "true")]), Ok(()));
        assert_eq!(
            checked("az://b", &[("AZURE_STORAGE_ACCOUNT_KEY", "k")]),
            Ok(())
        );
        assert_eq!(checked("./folder", &[]), Ok(()));
        for url in ["s3://b/p", "gs://b", "az://b"] {
            let told = checked(url, &[]).unwrap_err();
            assert!(
                told.contains("no credentials") && told.contains(INSTANCE),
                "{told}"
            );
        }
        let told = checked("s3://b/p", &keys[..1]).unwrap_err();
        assert!(told.contains("AWS_SECRET_ACCESS_KEY is not set"), "{told}");
        assert!(checked("s3://b", &[("AWS_SKIP_SIGNATURE", "false")]).is_err());
        assert!(checked("s3://b", &[(INSTANCE, "")]).is_err());
    }
}
