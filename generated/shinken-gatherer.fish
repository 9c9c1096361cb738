# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_shinken_gatherer_global_optspecs
    string join \n config= h/help V/version
end

function __fish_shinken_gatherer_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_shinken_gatherer_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_shinken_gatherer_using_subcommand
    set -l cmd (__fish_shinken_gatherer_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c shinken-gatherer -n "__fish_shinken_gatherer_needs_command" -l config -d 'The configuration [default: /etc/shinken/gatherer.toml where that exists, else built-in values]' -r -F
complete -c shinken-gatherer -n "__fish_shinken_gatherer_needs_command" -s h -l help -d 'Print help'
complete -c shinken-gatherer -n "__fish_shinken_gatherer_needs_command" -s V -l version -d 'Print version'
complete -c shinken-gatherer -n "__fish_shinken_gatherer_needs_command" -f -a "run" -d 'Run in the foreground and publish until SIGTERM; SIGHUP reads the configuration again'
complete -c shinken-gatherer -n "__fish_shinken_gatherer_needs_command" -f -a "once" -d 'Gather once and print what there is to know; nothing is published without --write'
complete -c shinken-gatherer -n "__fish_shinken_gatherer_needs_command" -f -a "generate" -d 'Print what packaging installs: the init script, the manual pages, the completions'
complete -c shinken-gatherer -n "__fish_shinken_gatherer_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c shinken-gatherer -n "__fish_shinken_gatherer_using_subcommand run" -l config -d 'The configuration [default: /etc/shinken/gatherer.toml where that exists, else built-in values]' -r -F
complete -c shinken-gatherer -n "__fish_shinken_gatherer_using_subcommand run" -s h -l help -d 'Print help'
complete -c shinken-gatherer -n "__fish_shinken_gatherer_using_subcommand once" -l window -d 'How long to watch the disks' -r
complete -c shinken-gatherer -n "__fish_shinken_gatherer_using_subcommand once" -l whisper-dir -d 'Count this directory instead of the configured one' -r -F
complete -c shinken-gatherer -n "__fish_shinken_gatherer_using_subcommand once" -l config -d 'The configuration [default: /etc/shinken/gatherer.toml where that exists, else built-in values]' -r -F
complete -c shinken-gatherer -n "__fish_shinken_gatherer_using_subcommand once" -l json -d 'Print the documents as JSON, for programs, instead of a table'
complete -c shinken-gatherer -n "__fish_shinken_gatherer_using_subcommand once" -l write -d 'Also publish the documents, as the daemon would'
complete -c shinken-gatherer -n "__fish_shinken_gatherer_using_subcommand once" -s h -l help -d 'Print help'
complete -c shinken-gatherer -n "__fish_shinken_gatherer_using_subcommand generate" -l config -d 'The configuration [default: /etc/shinken/gatherer.toml where that exists, else built-in values]' -r -F
complete -c shinken-gatherer -n "__fish_shinken_gatherer_using_subcommand generate" -s h -l help -d 'Print help'
complete -c shinken-gatherer -n "__fish_shinken_gatherer_using_subcommand help; and not __fish_seen_subcommand_from run once generate help" -f -a "run" -d 'Run in the foreground and publish until SIGTERM; SIGHUP reads the configuration again'
complete -c shinken-gatherer -n "__fish_shinken_gatherer_using_subcommand help; and not __fish_seen_subcommand_from run once generate help" -f -a "once" -d 'Gather once and print what there is to know; nothing is published without --write'
complete -c shinken-gatherer -n "__fish_shinken_gatherer_using_subcommand help; and not __fish_seen_subcommand_from run once generate help" -f -a "generate" -d 'Print what packaging installs: the init script, the manual pages, the completions'
complete -c shinken-gatherer -n "__fish_shinken_gatherer_using_subcommand help; and not __fish_seen_subcommand_from run once generate help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
