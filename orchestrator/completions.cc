#include "orchestrator/completions.h"

#include "protocol/error.h"

namespace ktstr {
namespace {

constexpr const char* bash = R"sh(_ktstr() {
  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} words=""
  COMPREPLY=()
  case "$previous" in
    --accel) words="auto kvm tcg" ;;
    --format) words="human jsonl capnp" ;;
    --topology) words="1n1l1c1t 1n1l4c1t 1n2l2c1t 1n2l2c2t 2n2l2c1t 2n4l2c1t 1l256M,0l256M,2c1t" ;;
    --kernel) words="$(ktstr kernel list 2>/dev/null | awk '{print $1}')" ;;
    --scheduler) words="scx_simple scx_qmap scx_flatcg scx_central scx_userland"
                 COMPREPLY=($(compgen -f -- "$word")) ;;
    --memory) words="512M 1G 2G" ;;
    --include|--scheduler-config) COMPREPLY=($(compgen -f -- "$word")) ;;
  esac
  if [ -z "$words" ]; then
    if [ "$COMP_CWORD" = 1 ]; then
      words="run demo scenario work-type assertion record snapshot probe kernel scheduler monitor support serve completions version help"
    else
      case "${COMP_WORDS[1]}" in
        scenario) words="list show --topology --format --help $(ktstr scenario list --format names 2>/dev/null)" ;;
        run) words="--kernel --topology --scheduler --env --memory --accel --duration --format --beside-eevdf --keep --vmm --samples
                    --through-bzimage --performance-mode --no-perf-mode --boot-timeout --attach-timeout --append --help
                    --sysctl --kernel-arg --include --file --enable --disable --scheduler-config --cgroup-parent
                    --cleanup-budget --map-write --watchdog-timeout --snapshots --sample-period"
             COMPREPLY=($(compgen -f -X '!*.json' -- "$word")) ;;
        demo) words="--scenario --kernel --topology --duration --scheduler --format --help" ;;
        kernel) words="get expand list path rm verify" ;;
        scheduler) words="build path list --kernel --with --source --vmlinux --out --json --help" ;;
        work-type|assertion) words="list --format" ;;
        record) words="list show --format --timeline --snapshot" ;;
        snapshot) words="--vm --name --format --help" ;;
        serve) words="--dir --activated --accel --control-uid --observe-uid --gate-uid --help" ;;
         monitor) words="samples maps map progs tasks events dsqs dump symbol type read watch write core support --vm --ram --core
                         --gate --format --limit --hops --freeze --period-ms --attach-ms --count --help" ;;
         support) words="--kernel --accel --format --help" ;;
        completions) words="bash zsh fish" ;;
      esac
    fi
  fi
  COMPREPLY+=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _ktstr ktstr
)sh";

constexpr const char* zsh = R"sh(#compdef ktstr
autoload -U +X bashcompinit && bashcompinit
)sh";

constexpr const char* fish =
    R"sh(complete -c ktstr -n __fish_use_subcommand -xa 'run demo scenario work-type assertion record snapshot probe kernel scheduler monitor support serve completions version help'
complete -c ktstr -n '__fish_seen_subcommand_from run demo support' -l kernel -x -d 'debian:VERSION[:FLAVOUR], debian:FIRST..LAST or a path'
complete -c ktstr -n '__fish_seen_subcommand_from run demo' -l topology -x -a '1n1l1c1t 1n1l4c1t 1n2l2c2t 2n4l2c1t'
complete -c ktstr -n '__fish_seen_subcommand_from run demo' -l duration -x
complete -c ktstr -n '__fish_seen_subcommand_from run demo' -l format -x -a 'human jsonl capnp'
complete -c ktstr -n '__fish_seen_subcommand_from run' -l scheduler -r
complete -c ktstr -n '__fish_seen_subcommand_from run' -l memory -x -a '512M 1G 2G'
complete -c ktstr -n '__fish_seen_subcommand_from run' -l accel -x -a 'auto kvm tcg'
complete -c ktstr -n '__fish_seen_subcommand_from run' -l keep
complete -c ktstr -n '__fish_seen_subcommand_from run' -l beside-eevdf
complete -c ktstr -n '__fish_seen_subcommand_from run' -l include -r
complete -c ktstr -n '__fish_seen_subcommand_from run' -l scheduler-config -r
complete -c ktstr -n '__fish_seen_subcommand_from run' -l sysctl -x
complete -c ktstr -n '__fish_seen_subcommand_from run' -l kernel-arg -x
complete -c ktstr -n '__fish_seen_subcommand_from run' -l map-write -x
complete -c ktstr -n '__fish_seen_subcommand_from run' -l snapshots -x
complete -c ktstr -n '__fish_seen_subcommand_from kernel' -xa 'get expand list path rm verify'
complete -c ktstr -n '__fish_seen_subcommand_from scheduler' -xa 'build path list'
complete -c ktstr -n '__fish_seen_subcommand_from work-type assertion' -xa list
complete -c ktstr -n '__fish_seen_subcommand_from scheduler' -l with -xa '(__fish_complete_directories)'
complete -c ktstr -n '__fish_seen_subcommand_from scenario' -xa 'list show'
complete -c ktstr -n '__fish_seen_subcommand_from serve' -l dir -xa '(__fish_complete_directories)'
complete -c ktstr -n '__fish_seen_subcommand_from record' -xa 'list show'
complete -c ktstr -n '__fish_seen_subcommand_from record' -l timeline
complete -c ktstr -n '__fish_seen_subcommand_from record' -l snapshot -x
complete -c ktstr -n '__fish_seen_subcommand_from snapshot' -l vm -r
complete -c ktstr -n '__fish_seen_subcommand_from snapshot' -l name -x
complete -c ktstr -n '__fish_seen_subcommand_from monitor' -xa 'samples maps map progs tasks events dsqs dump symbol type read watch write core support'
complete -c ktstr -n '__fish_seen_subcommand_from completions' -xa 'bash zsh fish'
)sh";

}  // namespace

std::string completionScript(const std::string& shell) {
  if (shell == "bash") return bash;
  if (shell == "zsh") return std::string(zsh) + bash;
  if (shell == "fish") return fish;
  throw Error(ExitCode::usage, "unknown-shell", "no completions for \"" + shell + "\"",
              "ktstr completions bash|zsh|fish");
}

}  // namespace ktstr
