//! The bill of materials of the program: what it is made of, as `CycloneDX` 1.5.

use std::fmt::Write as _;

use super::licenses::Package;

/// A document with the program and the packages that are linked into it. The same packages give the same bytes.
pub(super) fn document(target: &str, version: &str, packages: &[Package]) -> String {
    let purl = |name: &str, version: &str| format!("pkg:cargo/{name}@{version}");
    let own = purl("eciton-worker", version);
    let mut text = String::from(
        "{\n  \"bomFormat\": \"CycloneDX\",\n  \"specVersion\": \"1.5\",\n  \"version\": 1,\n",
    );
    let place = quoted(target);
    let (name, reference, number) = (quoted("eciton"), quoted(&own), quoted(version));
    write!(
        text,
        "  \"metadata\": {{\n    \"component\": {{\"type\": \"application\", \"bom-ref\": {reference}, \"name\": {name}, \"version\": {number}, \
         \"purl\": {reference}, \"licenses\": [{{\"expression\": \"Apache-2.0\"}}]}},\n    \
         \"properties\": [{{\"name\": \"target\", \"value\": {place}}}]\n  }},\n  \"components\": [\n"
    )
    .ok();
    for (index, package) in packages.iter().enumerate() {
        let comma = if index + 1 < packages.len() { "," } else { "" };
        writeln!(text, "    {}{comma}", component(package)).ok();
    }
    text.push_str("  ],\n  \"dependencies\": [\n");
    let all = packages.iter().map(|package| quoted(&package.purl()));
    let all: Vec<String> = all.collect();
    writeln!(
        text,
        "    {{\"ref\": {reference}, \"dependsOn\": [{}]}}\n  ]\n}}",
        all.join(", ")
    )
    .ok();
    assert_eq!(
        text.matches("\"type\": \"library\"").count(),
        packages.len(),
        "every package is a component"
    );
    text
}

fn component(package: &Package) -> String {
    let purl = quoted(&package.purl());
    let mut text = format!(
        "{{\"type\": \"library\", \"bom-ref\": {purl}, \"name\": {}, \"version\": {}, \"purl\": {purl}",
        quoted(&package.name),
        quoted(&package.version)
    );
    if !package.license.is_empty() {
        let license = quoted(&package.license);
        write!(text, ", \"licenses\": [{{\"expression\": {license}}}]").ok();
    }
    if !package.repository.is_empty() {
        let url = quoted(&package.repository);
        write!(
            text,
            ", \"externalReferences\": [{{\"type\": \"vcs\", \"url\": {url}}}]"
        )
        .ok();
    }
    text.push('}');
    text
}

/// A string of JSON.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                write!(quoted, "\\u{:04x}", u32::from(c)).ok();
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_json_keep_what_is_in_them() {
        assert_eq!(quoted("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000a\"");
    }
}
