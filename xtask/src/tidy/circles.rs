//! No circles: the files of the engine can be put in an order in which each names only those before it, so that
//! one can be read, and understood, after what it stands on.
//!
//! A file that is the root of a module (`mod.rs`, `lib.rs`) documents and re-exports, and does not count; what it
//! re-exports counts as named where it is defined. Tests do not count.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::paths::{self, Path};
use super::sources::Source;

const FOLDER: &str = "engine/src/";
const ROOTS: [&str; 3] = ["crate", "super", "self"];

/// A module, as its names from the crate's root.
type Module = Vec<String>;
/// Which modules each one names.
type Graph = BTreeMap<Module, BTreeSet<Module>>;

/// Returns a line for each circle.
pub(crate) fn check(files: &[Source]) -> Vec<String> {
    let modules = Modules::read(files);
    let graph = modules.graph();
    let mut told = BTreeSet::new();
    let mut found = Vec::new();
    for module in graph.keys() {
        if told.contains(module) {
            continue;
        }
        let Some(circle) = shortest(&graph, module) else {
            continue;
        };
        let names = circle.iter().map(|module| module.join("/"));
        let names: Vec<String> = names.collect();
        found.push(format!(
            "{FOLDER}{}.rs: its imports lead in a circle: {}; move what both need to a file of its own",
            names[0],
            names.join(" -> ")
        ));
        told.extend(circle);
    }
    found
}

/// The modules of the engine, with the paths that each names.
struct Modules {
    paths: BTreeMap<Module, Vec<Path>>,
    /// Roots of modules: they re-export.
    roots: BTreeSet<Module>,
}

impl Modules {
    fn read(files: &[Source]) -> Modules {
        let own = files.iter().filter(|file| file.is_rust());
        let own: Vec<(Module, bool, String)> = own
            .filter_map(|file| {
                let path = file.path.strip_prefix(FOLDER)?.strip_suffix(".rs")?;
                let (module, is_root) = module_of(path);
                Some((module, is_root, product_code(&file.text)))
            })
            .collect();
        let tests: BTreeSet<Module> = own
            .iter()
            .flat_map(|(module, _, code)| {
                tests_of(code)
                    .map(|name| joined(module, &[name]))
                    .collect::<Vec<_>>()
            })
            .collect();
        let is_test =
            |module: &Module| (1..=module.len()).any(|len| tests.contains(&module[..len]));
        let product = own.into_iter().filter(|(module, ..)| !is_test(module));
        let mut modules = Modules {
            paths: BTreeMap::new(),
            roots: BTreeSet::new(),
        };
        for (module, is_root, code) in product {
            if is_root {
                modules.roots.insert(module.clone());
            }
            modules.paths.insert(module, paths::all(&code, &ROOTS));
        }
        modules
    }

    fn graph(&self) -> Graph {
        let mut graph = Graph::new();
        let files = self.paths.iter();
        for (module, paths) in files.filter(|(module, _)| !self.roots.contains(*module)) {
            let names = paths.iter().filter_map(|path| self.absolute(module, path));
            let named = names.filter_map(|names| self.file_of(&names, &mut BTreeSet::new()));
            let others = named.filter(|named| named != module && !self.roots.contains(named));
            graph.insert(module.clone(), others.collect());
        }
        graph
    }

    /// The path from the crate's root, `None` for what other crates have.
    fn absolute(&self, module: &Module, path: &Path) -> Option<Module> {
        let names = &path.names[..];
        match names[0].as_str() {
            "crate" => Some(names[1..].to_vec()),
            "self" => Some(joined(module, &names[1..])),
            "super" => {
                let up = names.iter().take_while(|name| *name == "super").count();
                let depth = module.len().checked_sub(up)?;
                Some(joined(&module[..depth], &names[up..]))
            }
            first => {
                let child = joined(module, &[first]);
                let is_own = self.paths.contains_key(&child);
                is_own.then(|| joined(module, names))
            }
        }
    }

    /// The module that defines what an absolute path names.
    fn file_of(&self, names: &[String], seen: &mut BTreeSet<Module>) -> Option<Module> {
        let depth = (0..=names.len())
            .rev()
            .find(|depth| self.paths.contains_key(&names[..*depth]))?;
        let (module, rest) = names.split_at(depth);
        let module = module.to_vec();
        let Some(item) = rest.first() else {
            return Some(module);
        };
        if self.roots.contains(&module) && seen.insert(joined(&module, &[item])) {
            let exports = self.paths[&module].iter().filter(|path| path.is_use);
            let mut absolute = exports.filter_map(|path| self.absolute(&module, path));
            if let Some(export) = absolute.find(|names| names.last() == Some(item)) {
                return self.file_of(&joined(&export, &rest[1..]), seen);
            }
        }
        Some(module)
    }
}

/// The module of a file, and whether it is the root of others.
fn module_of(path: &str) -> (Module, bool) {
    let mut names: Module = path.split('/').map(str::to_owned).collect();
    let is_root = names
        .last()
        .is_some_and(|name| name == "mod" || name == "lib");
    if is_root {
        names.pop();
    }
    (names, is_root)
}

fn joined(module: &[String], names: &[impl AsRef<str>]) -> Module {
    let names = names.iter().map(|name| name.as_ref().to_owned());
    module.iter().cloned().chain(names).collect()
}

/// The text without comments, and without the tests at its end.
fn product_code(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    let code: Vec<&str> = lines.collect();
    let code = code.join("\n");
    let end = code.find("#[cfg(test)]\nmod tests {");
    code[..end.unwrap_or(code.len())].to_owned()
}

/// Modules that only tests have.
fn tests_of(code: &str) -> impl Iterator<Item = &str> {
    let mut marked = false;
    code.lines().filter_map(move |line| {
        let was_marked = std::mem::replace(&mut marked, line == "#[cfg(test)]");
        let name = line.rsplit_once("mod ")?.1.strip_suffix(';')?;
        was_marked.then_some(name)
    })
}

/// The shortest way from a module back to itself, both ends included.
fn shortest(graph: &Graph, module: &Module) -> Option<Vec<Module>> {
    let mut from: BTreeMap<&Module, &Module> = BTreeMap::new();
    let mut next = VecDeque::from([module]);
    while let Some(at) = next.pop_front() {
        for to in graph.get(at).into_iter().flatten() {
            if to == module {
                let mut way = vec![module.clone(), at.clone()];
                let mut here = at;
                while here != module {
                    here = from[here];
                    way.push(here.clone());
                }
                // A circle of two has its first end twice already.
                if at == module {
                    way.pop();
                }
                way.reverse();
                return Some(way);
            }
            if !from.contains_key(to) {
                from.insert(to, at);
                next.push_back(to);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> Vec<String> {
        let source = |(path, text): &(&str, &str)| Source {
            path: format!("{FOLDER}{path}"),
            text: (*text).to_owned(),
        };
        let files: Vec<Source> = files.iter().map(source).collect();
        check(&files)
    }

    #[test]
    fn a_circle_is_found_through_what_a_root_re_exports() {
        let root = (
            "log/mod.rs",
            "mod a;\nmod b;\nmod c;\npub use b::B;\npub use c::C;",
        );
        let a = ("log/a.rs", "use super::B;\nuse std::fmt;");
        let b = ("log/b.rs", "fn f() { super::C::new() }");
        let straight = ("log/c.rs", "/// As [`super::a`].\npub struct C;");
        assert_eq!(of(&[root, a, b, straight]), Vec::<String>::new());
        let back = ("log/c.rs", "use crate::log::a::{self, A};");
        let found = of(&[root, a, b, back]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("log/a -> log/b -> log/c -> log/a"),
            "{found:?}"
        );
    }

    #[test]
    fn tests_may_name_anything() {
        let root = ("log/mod.rs", "mod a;\nmod b;\n#[cfg(test)]\nmod testing;");
        let a = ("log/a.rs", "use super::b;\n");
        let b = (
            "log/b.rs",
            "#[cfg(test)]\nmod tests {\n use super::super::a;\n}\n",
        );
        let testing = ("log/testing.rs", "use super::testing;\nuse super::a;\n");
        assert!(of(&[root, a, b, testing]).is_empty());
    }
}
