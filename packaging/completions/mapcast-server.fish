# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_mapcast_server_global_optspecs
    string join \n s/source= redis-password-file= source-tls-ca= source-tls-name= source-tls-cert= source-tls-key= state= set= max-frame= f/format= max-backlog= send= i/interval= http= http-max-connections= http-host= http-allow-origin= http-token-file= l/listen= max-connections= max-connections-per-ip= allow= keepalive= reuse-port write-timeout= drain-timeout= tls-cert= tls-key= tls-client-ca= check-config v/verbose q/quiet h/help V/version
end

function __fish_mapcast_server_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_mapcast_server_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_mapcast_server_using_subcommand
    set -l cmd (__fish_mapcast_server_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -s s -l source -d 'Source of the map [default: the built-in map]: FILE.json or FILE.toml, read again when it changes; `-`, one JSON object per line on standard input; `tcp://HOST:PORT` or `tls://HOST:PORT`, another mapcast server; `redis://HOST/DB?key=NAME` or `rediss://`, a hash' -r
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l redis-password-file -d 'Read the password for Redis from this file at each connection' -r -F
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l source-tls-ca -d 'With a TLS source, trust the CA certificates in this PEM file instead of the system\'s' -r -F
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l source-tls-name -d 'The name in the source\'s certificate [default: the host of the address]' -r
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l source-tls-cert -d 'Present the client certificate in this PEM file to a source that requests one' -r -F
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l source-tls-key -d 'Private key of the certificate: PEM, not encrypted' -r -F
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l state -d 'Store the last good map in this file and start with it: for a source that may be unreachable, or for writing over HTTP' -r -F
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l set -d 'Add an entry, or replace the one with this key; may be repeated. VALUE is JSON or plain text' -r
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l max-frame -d 'Reject maps larger than this' -r
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -s f -l format -d 'Format of the map on ports without a format of their own: bincode, json, msgpack, pickle or text' -r
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l max-backlog -d 'Close the slowest connections, including HTTP\'s, when the older maps still queued for them exceed this size in total [default: 32MiB, or 8 times --max-frame if that is more]' -r
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l send -d 'Which threads send the map: publishers with many frames per system call (batch) or one (plain), or each client\'s own thread (thread) [default: batch, or plain if the system refuses it]' -r
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -s i -l interval -d 'Repeat the map at least this often to each client' -r
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l http -d 'Serve the page, /events, /map, /clients, /status, /metrics, /livez and /readyz on this address, or on this port of 127.0.0.1; off by default' -r
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l http-max-connections -d 'Limit HTTP connections; above the limit answer 503, except for health checks and metrics' -r
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l http-host -d 'Accept requests for this host, in addition to loopback and the address of --http; may be repeated' -r
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l http-allow-origin -d 'Let pages of this origin read responses (CORS); * for all origins' -r
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l http-token-file -d 'Accept PUT and PATCH of /map, and PUT and DELETE of /map/KEY, with the bearer token in this file' -r -F
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -s l -l listen -d 'Address to listen on; may be repeated. PORT alone is 127.0.0.1:PORT, :PORT is every address of this machine, and FORMAT@ in front is the format of the map there. Port 0 picks a free port, which is logged' -r
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l max-connections -d 'Maximum number of clients; further ones are closed after waiting 1 to 5 s for a free slot [default: 10000, or what this machine can hold]' -r
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l max-connections-per-ip -d 'Maximum number of clients per address; IPv6 addresses count by their first 64 bits [default: no limit]' -r
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l allow -d 'Accept clients only from this network, such as 10.0.0.0/8 or 192.0.2.7; may be repeated [default: accept all]' -r
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l keepalive -d 'Probe a client with TCP keepalive after this much silence; 0 disables it' -r
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l write-timeout -d 'Close a client that takes longer than this to accept one whole frame' -r
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l drain-timeout -d 'Close remaining connections this long after shutdown was requested' -r
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l tls-cert -d 'Encrypt with the certificate chain in this PEM file, leaf first; read again when it changes' -r -F
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l tls-key -d 'Private key of the certificate: PEM, not encrypted' -r -F
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l tls-client-ca -d 'Accept only clients with a certificate from a CA in this PEM file' -r -F
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l reuse-port -d 'Let other servers of the same user listen on the same address; the kernel distributes the clients; not on Windows'
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -l check-config -d 'Check the configuration without listening, writing or contacting a remote source, print what the server would do, and exit with 0, or 2 if it is not valid, or 1 if it cannot be printed'
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -s v -l verbose -d 'Log more: -v debug, -vv trace'
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -s q -l quiet -d 'Log less: -q warnings, -qq errors, -qqq nothing'
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -s h -l help -d 'Print help: -h the most used options, --help all'
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -s V -l version -d 'Print the version'
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -a "echo" -d 'Send back everything that a client sends until it half-closes, then close'
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -a "greet" -d 'Send TEXT without a header, then close'
complete -c mapcast-server -n "__fish_mapcast_server_needs_command" -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand echo" -s l -l listen -d 'Address to listen on; may be repeated. PORT alone is 127.0.0.1:PORT, :PORT is every address of this machine, and FORMAT@ in front is the format of the map there. Port 0 picks a free port, which is logged' -r
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand echo" -l max-connections -d 'Maximum number of clients; further ones are closed after waiting 1 to 5 s for a free slot [default: 10000, or what this machine can hold]' -r
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand echo" -l max-connections-per-ip -d 'Maximum number of clients per address; IPv6 addresses count by their first 64 bits [default: no limit]' -r
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand echo" -l allow -d 'Accept clients only from this network, such as 10.0.0.0/8 or 192.0.2.7; may be repeated [default: accept all]' -r
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand echo" -l keepalive -d 'Probe a client with TCP keepalive after this much silence; 0 disables it' -r
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand echo" -l write-timeout -d 'Close a client that takes longer than this to accept one whole frame' -r
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand echo" -l drain-timeout -d 'Close remaining connections this long after shutdown was requested' -r
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand echo" -l tls-cert -d 'Encrypt with the certificate chain in this PEM file, leaf first; read again when it changes' -r -F
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand echo" -l tls-key -d 'Private key of the certificate: PEM, not encrypted' -r -F
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand echo" -l tls-client-ca -d 'Accept only clients with a certificate from a CA in this PEM file' -r -F
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand echo" -l reuse-port -d 'Let other servers of the same user listen on the same address; the kernel distributes the clients; not on Windows'
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand echo" -l check-config -d 'Check the configuration without listening, writing or contacting a remote source, print what the server would do, and exit with 0, or 2 if it is not valid, or 1 if it cannot be printed'
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand echo" -s v -l verbose -d 'Log more: -v debug, -vv trace'
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand echo" -s q -l quiet -d 'Log less: -q warnings, -qq errors, -qqq nothing'
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand echo" -s h -l help -d 'Print help: -h the most used options, --help all'
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand greet" -s l -l listen -d 'Address to listen on; may be repeated. PORT alone is 127.0.0.1:PORT, :PORT is every address of this machine, and FORMAT@ in front is the format of the map there. Port 0 picks a free port, which is logged' -r
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand greet" -l max-connections -d 'Maximum number of clients; further ones are closed after waiting 1 to 5 s for a free slot [default: 10000, or what this machine can hold]' -r
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand greet" -l max-connections-per-ip -d 'Maximum number of clients per address; IPv6 addresses count by their first 64 bits [default: no limit]' -r
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand greet" -l allow -d 'Accept clients only from this network, such as 10.0.0.0/8 or 192.0.2.7; may be repeated [default: accept all]' -r
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand greet" -l keepalive -d 'Probe a client with TCP keepalive after this much silence; 0 disables it' -r
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand greet" -l write-timeout -d 'Close a client that takes longer than this to accept one whole frame' -r
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand greet" -l drain-timeout -d 'Close remaining connections this long after shutdown was requested' -r
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand greet" -l tls-cert -d 'Encrypt with the certificate chain in this PEM file, leaf first; read again when it changes' -r -F
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand greet" -l tls-key -d 'Private key of the certificate: PEM, not encrypted' -r -F
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand greet" -l tls-client-ca -d 'Accept only clients with a certificate from a CA in this PEM file' -r -F
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand greet" -l reuse-port -d 'Let other servers of the same user listen on the same address; the kernel distributes the clients; not on Windows'
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand greet" -l check-config -d 'Check the configuration without listening, writing or contacting a remote source, print what the server would do, and exit with 0, or 2 if it is not valid, or 1 if it cannot be printed'
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand greet" -s v -l verbose -d 'Log more: -v debug, -vv trace'
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand greet" -s q -l quiet -d 'Log less: -q warnings, -qq errors, -qqq nothing'
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand greet" -s h -l help -d 'Print help: -h the most used options, --help all'
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand help; and not __fish_seen_subcommand_from echo greet help" -f -a "echo" -d 'Send back everything that a client sends until it half-closes, then close'
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand help; and not __fish_seen_subcommand_from echo greet help" -f -a "greet" -d 'Send TEXT without a header, then close'
complete -c mapcast-server -n "__fish_mapcast_server_using_subcommand help; and not __fish_seen_subcommand_from echo greet help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
