//! The settings of cookies, and what follows from them: the names, the paths and the attribute
//! `SameSite`.

use super::place::{Place, Places};

/// The settings.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The name of [`Cookies::named`](super::Cookies::named) and a hyphen, or nothing.
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
    /// `None`, in a jar for each site in whose frames the page is.
    Partitioned,
}

impl Settings {
    /// The name of a cookie that is written. `prefix` is for secure ones.
    pub(super) fn current(&self, prefix: &str, kind: &str) -> String {
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

    /// The places of other settings and of earlier versions: none where cookies of those would not
    /// be in the same jar, or not be secure.
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
