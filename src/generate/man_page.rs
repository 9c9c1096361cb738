//! shinken-gatherer(8), made of the command line: the program, then a section for each command.

use clap_mangen::Man;

/// The sections that do not follow from the command line.
const EPILOGUE: &str = include_str!("epilogue.man");

/// Returns the page of `command`, in roff.
pub fn page(command: &clap::Command) -> String {
    let mut page = String::new();
    let program = Man::new(command.clone().disable_help_subcommand(true)).section("8");
    page.push_str(&rendered(|out| program.render_title(out)));
    page.push_str(&rendered(|out| program.render_name_section(out)));
    page.push_str(&rendered(|out| program.render_synopsis_section(out)));
    page.push_str(&rendered(|out| program.render_description_section(out)));
    page.push_str(&rendered(|out| program.render_options_section(out)));
    push_commands(command, "", &mut page);
    page.push_str(EPILOGUE);
    page
}

fn push_commands(parent: &clap::Command, prefix: &str, page: &mut String) {
    for command in parent.get_subcommands() {
        let name = format!("{prefix}{}", command.get_name());
        page.push_str(&format!(".SH \"COMMAND {}\"\n", name.to_uppercase()));
        let man = Man::new(
            command
                .clone()
                .disable_help_subcommand(true)
                .bin_name(format!("shinken-gatherer {name}")),
        );
        for section in [
            rendered(|out| man.render_synopsis_section(out)),
            rendered(|out| man.render_description_section(out)),
            rendered(|out| man.render_options_section(out)),
        ] {
            // The sections of a separate page become paragraphs of one section.
            for line in section.lines() {
                match line.split(' ').next() {
                    Some(".SH") => page.push_str(".PP\n"),
                    Some(".ie" | ".el") => {}
                    _ => page.extend([line, "\n"]),
                }
            }
        }
        push_commands(command, &format!("{name} "), page);
    }
}

/// Returns the text that `render` writes. Writing to memory does not fail.
fn rendered(render: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> String {
    let mut text = Vec::new();
    let _ = render(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}
