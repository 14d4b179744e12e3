//! The seeds, and tests of what they reach.

/// The seeds by name. The example `seeds` writes them to files.
pub const SEEDS: &[(&str, &str)] = &[
    ("nothing", "0\nG/"),
    ("bearer", "0\nG@S\nA@B@a"),
    ("bearer_small", "0\nG@S\nAbearer   @a  "),
    ("bearer_expired", "0\nG@S\nA@B@b"),
    ("bearer_ended", "0\nG@S\nA@B@d"),
    ("bearer_twice", "0\nG@S\nA@B@a\nA@B@a"),
    ("bearer_malformed", "0\nG@S\nA@B@a,x"),
    ("bearer_refresh_token", "0\nG@S\nA@B@r"),
    ("basic", "0\nG@S\nABasic YTpi"),
    ("basic_and_cookie", "0\nG@S\nABasic YTpi\nC@x@a"),
    ("cookie", "0\nG@S\nCb=1; @x@a;c=2"),
    ("cookie_named", "2\nG@S\nC@x@a"),
    ("cookie_twice", "0\nG@S\nC@x@a\nC@x@c"),
    ("cookie_of_none", "1\nG@S\nC@x@a"),
    ("cookie_empty", "0\nG@S\nC@x;@x@a"),
    ("cookie_and_bearer", "0\nG@S\nA@B@a\nC@x@a"),
    ("head", "0\nH@S\nC@x@a"),
    ("post_from_nowhere", "0\nP@A\nC@x@a"),
    ("post_same_origin", "0\nP@A\nC@x@a\nS@1"),
    ("post_cross_site", "0\nP@A\nC@x@a\nS@3\nO@e"),
    ("post_cross_site_own_origin", "0\nP@O\nC@x@c\nH@h\nO@o\nS@3"),
    ("post_same_site_own_origin", "0\nP@O\nC@x@c\nH@h\nO@o\nS@2"),
    ("post_site_twice", "0\nP@O\nC@x@c\nH@h\nO@o\nS@1\nS@1"),
    ("post_allowed", "0\nP@O\nC@x@a\nS@2\nO@p"),
    ("post_own_origin", "0\nP@O\nC@x@c\nH@h\nO@o"),
    ("post_own_origin_in_target", "0\nP@o@O\nC@x@c\nO@o"),
    ("post_this_machine", "0\nP@A\nC@x@a\nH@m\nO@l"),
    ("post_double_submit", "0\nP@A\nC@x@a; @z@W\nX@W"),
    ("post_double_submit_other", "0\nP@A\nC@x@a; @z@W\nX@D"),
    ("post_origin_twice", "0\nP@A\nC@x@a\nO@p\nO@p"),
    ("upgrade", "0\nG@S\nC@x@a\nUwebsocket\nS@3"),
    ("refresh", "0\nP@R\nT@f\n\n@g@r"),
    ("refresh_used_up", "0\nP@R\nT@f;charset=utf-8\n\n@g@s&scope="),
    ("refresh_ended", "0\nP@R\nT@f\n\n@g@v"),
    ("refresh_by_access_token", "0\nP@R\nT@f\n\n@g@a"),
    (
        "refresh_escaped",
        "0\nP@R\nT@f\n\ngrant%5ftype=refresh%5Ftoken&refresh_token=%6bippu_rt_&refresh_token=@u",
    ),
    ("refresh_json", "0\nP@R\nTapplication/json\n\n@g@r"),
    ("refresh_no_grant", "0\nP@R\nT@f\n\nrefresh_token=@r"),
    ("refresh_other_grant", "0\nP@R\nT@f\n\ngrant_type=password&refresh_token=@r"),
    ("refresh_cookie", "0\nP@R\nC@y@V; @z@W\nS@1"),
    ("refresh_cookie_and_form", "0\nP@R\nT@f\nC@y@V; @z@W\nS@1\n\n@g@r"),
    ("refresh_cookie_planted_beside", "0\nP@R\nC@y@C; @y@V; @z@W\nS@1"),
    ("cookie_old_name", "0\nG@S\nC@E@a"),
    ("cookie_old_name_beside", "0\nP@A\nC@E@c; @x@a\nS@1"),
    ("cookie_old_name_twice", "0\nG@S\nC@E@a; @E@c"),
    ("refresh_cookie_old_name", "0\nP@R\nC@F@V; @z@W\nS@1"),
    ("refresh_cookie_old_name_beside", "0\nP@R\nC@F@C; @w@C; @y@V; @z@W\nS@1"),
    ("refresh_cookie_of_another_setting", "0\nP@R\nC@w@V; @z@W\nS@1"),
    ("refresh_cookie_to_every_path", "3\nP@R\nC@y@V; @w@X; @z@W\nS@1"),
    ("logout_old_names", "0\nP@L\nC@F@V; @E@c\nS@1"),
    ("refresh_cookie_twice", "0\nP@R\nC@y@V; @y@V; @z@W\nS@1"),
    ("refresh_cookie_not_bound", "0\nP@R\nC@y@V; @z@D\nS@1"),
    ("refresh_cookie_cross_site", "0\nP@R\nC@y@V; @z@W\nS@3"),
    ("refresh_cookie_used_up", "2\nP@R\nC@y@X; @z@Y\nX@Y"),
    ("logout", "0\nP@L\nT@f\n\nrefresh_token=@s"),
    ("logout_stranger", "0\nP@L\nT@f\n\nrefresh_token=x"),
    ("logout_cookie", "0\nP@L\nC@y@V; @z@W\nO@p"),
    ("logout_by_access", "0\nP@L\nC@x@c\nS@1"),
    ("logout_none", "1\nP@L"),
    ("logout_nowhere", "0\nP@L"),
    ("logout_nothing_left", "0\nP@L\nS@1"),
    ("logout_expired", "0\nP@L\nC@x@b\nS@1"),
    ("logout_expired_bearer", "1\nP@L\nA@B@b"),
    ("logout_not_bound", "0\nP@L\nC@y@V\nS@1"),
    ("logout_everything", "0\nP@L\nT@f\nA@B@b\nC@y@V; @y@C; @x@d\nS@1\n\nrefresh_token=@u"),
    ("logout_explicit_cross_site", "0\nP@L\nA@B@a\nC@x@c\nS@3"),
    ("logout_cookie_cross_site", "0\nP@L\nC@x@c\nS@3"),
    ("post_own_origin_with_port", "0\nP@O\nC@x@c\nH@n\nO@o"),
    ("end_none", "0\nD@S/\nA@B@a"),
    ("logout_all", "1\nP@A\nA@B@a"),
    ("logout_others", "0\nP@O\nA@B@a"),
    ("end_one", "0\nD@S/@j\nA@B@a"),
    ("end_own", "0\nD@S/@i\nC@x@a\nS@4"),
    ("end_another", "0\nD@S/@k\nA@B@a"),
    ("method", "0\nG@R\nA@B@a"),
    ("path", "0\nP/refresh/x\nA@B@a"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::{Happened, run};

    /// The seeds decide what a fuzzer finds in its first minute.
    #[test]
    fn the_seeds_reach_every_answer() {
        let happened: Happened = SEEDS.iter().flat_map(|(_, seed)| run(seed.as_bytes())).collect();
        let wanted = [
            "guard: 200",
            "guard: 400",
            "guard: 401",
            "guard: 403",
            "nobody",
            "ended",
            "refreshed, in a cookie: false",
            "refreshed, in a cookie: true",
            "GET sessions: 200",
            "HEAD sessions: 200",
            "GET sessions: 400",
            "GET sessions: 401",
            "GET sessions: 403",
            "GET refresh: 405",
            "POST refresh: 200",
            "POST refresh: 400",
            "POST refresh: 403",
            "POST refresh: 404",
            "POST logout: 204",
            "POST logout: 400",
            "POST logout: 403",
            "POST logout_all: 200",
            "POST logout_all: 403",
            "POST logout_others: 200",
            "DELETE sessions: 204",
            "DELETE sessions: 404",
        ];
        for wanted in wanted {
            assert!(happened.contains(wanted), "no seed for {wanted} in {happened:#?}");
        }
        assert!(!happened.contains("no request"));
    }

    #[test]
    fn a_text_that_is_not_a_request_is_skipped() {
        for input in ["", "0\n", "0\nG\u{e9}", "0\nG/\nA\u{7f}"] {
            assert!(run(input.as_bytes()).contains("no request"), "{input:?}");
        }
    }
}
