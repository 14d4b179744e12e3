//! Paths whose requests pass a guard without a token: a path, or everything below one. A path that
//! another server could resolve to a different one is not exempt.

use std::sync::Arc;

/// The exempt paths of a layer.
#[derive(Clone, Debug, Default)]
pub(super) struct Exempt(Vec<Arc<str>>);

impl Exempt {
    pub(super) fn add(&mut self, pattern: &str) {
        self.0.push(pattern.into());
    }

    pub(super) fn contains(&self, path: &str) -> bool {
        self.0.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(folder) if folder.ends_with('/') => {
                path.strip_prefix(folder).is_some_and(is_plain)
            }
            _ => path == &**pattern,
        })
    }
}

/// Returns whether the service behind cannot resolve a path to another folder.
fn is_plain(rest: &str) -> bool {
    let encoded = |code: &str| {
        rest.as_bytes().windows(3).any(|text| text.eq_ignore_ascii_case(code.as_bytes()))
    };
    let mut segments = rest.strip_suffix('/').unwrap_or(rest).split('/');
    segments.all(|segment| !matches!(segment, "" | "." | ".."))
        && !rest.contains('\\')
        && !["%2e", "%2f", "%5c"].into_iter().any(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_exempt_by_its_letters_alone() {
        let mut exempt = Exempt::default();
        for pattern in ["/health", "/assets/*", "/grpc.health.v1.Health/*", "/a*", "plain"] {
            exempt.add(pattern);
        }
        for path in [
            "/health",
            "/assets/app.js",
            "/assets/img/",
            "/assets/img/a%20b.png",
            "/assets/..a/.b",
            "/grpc.health.v1.Health/Check",
            // A star is one only behind a slash.
            "/a*",
        ] {
            assert!(exempt.contains(path), "{path}");
        }
        for path in [
            "/",
            "/healthz",
            "/health/",
            "/Health",
            "//health",
            "/x/health",
            "/health%20",
            "/assets",
            "/assets/",
            "/assets//",
            "/assets/../admin",
            "/assets/..",
            "/assets/./admin",
            "/assets//admin",
            "/assets/%2e%2E/admin",
            "/assets/..%2fadmin",
            "/assets/..%5Cadmin",
            "/assets/..\\admin",
            "/grpc.health.v1.Healthy/Check",
            "/ab",
            "/plain",
        ] {
            assert!(!exempt.contains(path), "{path}");
        }
    }
}
