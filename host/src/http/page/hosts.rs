//! The hosts of the group and the versions that they run, below the plugins; nothing for a host that is alone.
//!
//! Invariant: what others say of themselves is escaped, cut and bounded like any text from outside.

use super::markup::{append, cut, escaped, fitting, head, note};
use super::plugins::digest;
use crate::members::Members;
use crate::store::members::{Member, Version};

/// How many bytes the rows may take, and how many plugins of each host are shown.
const BYTES: usize = 8_000;
const PLUGINS: usize = 8;

/// Draws them.
pub(super) fn draw(members: &Members) -> String {
    let heard = members.heard();
    if heard.len() < 2 {
        return String::new();
    }
    let own = heard.iter().find(|member| members.is_self(member));
    let (rows, shown) = fitting(heard.iter().map(|member| row(member, own)), BYTES);
    let head = head("Hosts", &note(heard.len(), shown, "/plugins"));
    format!(
        "{head}\
         <div class=\"scroll\"><table class=\"sticky\"><thead><tr><th scope=\"col\">Host</th>\
         <th scope=\"col\" class=\"left\">Plugins</th></tr></thead><tbody>{rows}</tbody></table></div></section>"
    )
}

/// A host; a version that is not the one of this host stands out.
fn row(member: &Member, own: Option<&Member>) -> String {
    let mut out = format!("<tr><th scope=\"row\">{}", escaped(&cut(&member.host, 64)));
    if own.is_some_and(|own| own.id == member.id) {
        out.push_str(" <span class=\"soft\">(this one)</span>");
    }
    out.push_str("</th><td class=\"left\">");
    for (index, (name, version)) in member.plugins.iter().take(PLUGINS).enumerate() {
        let differs = own.is_some_and(|own| own.plugins.get(name) != Some(version));
        let (comma, tone) = (if index > 0 { ", " } else { "" }, if differs { "warn" } else { "soft" });
        let Version { version, digest: whole } = version;
        append(
            &mut out,
            format_args!(
                "{comma}{} <span class=\"{tone}\">{}</span> {}",
                escaped(&cut(name, 64)),
                escaped(&cut(version, 32)),
                digest(Some(whole))
            ),
        );
    }
    if let Some(more) = member.plugins.len().checked_sub(PLUGINS).filter(|more| *more > 0) {
        append(&mut out, format_args!(" and {more} more"));
    }
    out.push_str("</td></tr>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, host: &str, version: &str) -> Member {
        let version = Version { version: version.to_owned(), digest: format!("{id}bcdef") };
        let plugins = [("vwap".to_owned(), version)].into();
        Member { id: id.to_owned(), host: host.to_owned(), plugins, partitions: Vec::new() }
    }

    #[test]
    fn a_host_that_is_alone_needs_no_table() {
        assert_eq!(draw(&Members::saying("a", vec![member("a", "one", "1")])), "");
    }

    #[test]
    fn hosts_are_shown_as_text_and_another_version_stands_out() {
        let members = Members::saying("a", vec![member("a", "one", "1"), member("b", "<b>two", "2")]);
        let drawn = draw(&members);
        assert!(drawn.contains("one <span class=\"soft\">(this one)</span>"), "{drawn}");
        assert!(drawn.contains("&lt;b&gt;two") && !drawn.contains("<b>"), "{drawn}");
        assert!(drawn.contains("<span class=\"warn\">2</span>"), "{drawn}");
        assert!(drawn.contains("<span class=\"soft\">1</span>"), "{drawn}");
    }

    #[test]
    fn however_many_hosts_there_are_the_table_stays_small() {
        let many = (0..500).map(|id| member(&id.to_string(), &"<".repeat(400), "1")).collect();
        let drawn = draw(&Members::saying("0", many));
        assert!(drawn.len() < 2 * BYTES && drawn.contains("of 500; all at /plugins"), "{}", drawn.len());
    }
}
