# For the benchmarks, to be sourced: how a figure is printed.

# median (min .. max) of the numbers on stdin, in the unit given
spread() {
  sort -g | awk -v unit="$1" '{v[NR] = $1} END {
    m = NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2
    printf "%.4g %s (%.4g .. %.4g)", m, unit, v[1], v[NR]}'
}
median() { sort -g | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }
line() { printf '%-58s %-12s %s\n' "$1" "$2" "$3"; }
host_line() {
  echo "host: $(nproc) CPUs, load $(cut -d' ' -f1 /proc/loadavg), $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)"
}
