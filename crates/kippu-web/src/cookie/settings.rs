//! The settings of cookies, and the names, paths and `SameSite` attributes that result from them.

use super::place::{Place, Places};

/// The settings.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The name of [`Cookies::named`](super::Cookies::named) and a hyphen, or an empty text.
    pub(super) name: String,
    /// The path of the session routes.
    pub(super) refresh_path: String,
    pub(super) is_to_every_path: bool,
    pub(super) same_site: SameSite,
    pub(super) is_insecure: bool,
    pub(super) reads_old_names: bool,
}

/// The attribute of the access cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SameSite {
    Strict,
    Lax,
    None,
    /// `None`, with separate cookies for each site in whose frames the page is.
    Partitioned,
}

impl Settings {
    /// Returns the name of a cookie that is written. `prefix` is for secure cookies.
    pub(super) fn current(&self, prefix: &str, kind: &str) -> String {
        // Browsers reject a cookie that has one of the prefixes and is not secure (RFC 6265bis
        // §4.1.3).
        let prefix = if self.is_insecure { "insecure-" } else { prefix };
        let jar = if self.same_site == SameSite::Partitioned { "partitioned-" } else { "" };
        format!("{prefix}{jar}{}{kind}", self.name)
    }

    pub(super) fn access(&self) -> Places {
        let current = Place::new(self.current("__Host-Http-", "access"), "/");
        Places::new(current, self.earlier(&[("__Host-", "access", "/")]))
    }

    pub(super) fn refresh(&self) -> Places {
        let path = &*self.refresh_path;
        let (prefix, other) = ("__Http-", "__Host-Http-");
        let [(prefix, path), other] = if self.is_to_every_path {
            [(other, "/"), (prefix, path)]
        } else {
            [(prefix, path), (other, "/")]
        };
        let current = Place::new(self.current(prefix, "refresh"), path);
        let (other, other_path) = other;
        let old = ("__Secure-", "refresh", &*self.refresh_path);
        Places::new(current, self.earlier(&[(other, "refresh", other_path), old]))
    }

    /// Returns the places of other settings and of earlier versions. There are none if the browser
    /// keeps such cookies apart, or if they are not secure.
    fn earlier(&self, places: &[(&str, &str, &str)]) -> Vec<Place> {
        if !self.reads_old_names || self.same_site == SameSite::Partitioned {
            return Vec::new();
        }
        let place = |(prefix, kind, path): &(&str, &str, &str)| {
            Place::new(format!("{prefix}{}{kind}", self.name), path)
        };
        places.iter().map(place).collect()
    }
}

impl SameSite {
    pub(super) fn attribute(self) -> &'static str {
        match self {
            Self::Strict => "SameSite=Strict",
            Self::Lax => "SameSite=Lax",
            Self::None => "SameSite=None",
            Self::Partitioned => "SameSite=None; Partitioned",
        }
    }
}
