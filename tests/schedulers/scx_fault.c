// The process of scx_fault: reads its options, loads the BPF half, and waits for the end.
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <dirent.h>
#include <getopt.h>
#include <sched.h>
#include <scx/common.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "scx_fault.h"

#include "scx_fault.bpf.skel.h"  // has an enum Fault

static const char help[] =
    "A FIFO scheduler with faults that can be switched on, to test what tests schedulers.\n"
    "\n"
    "Usage: scx_fault [--fault NAME] [options]\n"
    "\n"
    "  --fault NAME     starve-task    one task (--comm, --cgroup) is never dispatched again\n"
    "                   starve-cgroup  the tasks meant get one slice in --ms, if others want to run\n"
    "                   starve-cpu     CPU --cpu gets nothing to run that can run elsewhere\n"
    "                   stall          nothing is dispatched any more\n"
    "                   wrong-cpu      the tasks meant are sent to a CPU outside their affinity\n"
    "                   slow-dispatch  CPU --cpu spends --ms in dispatch, again and again\n"
    "                   error-exit     scx_bpf_error()\n"
    "                   crash-loop     the process dies by SIGSEGV, N ms after it attached\n"
    "                   pin            the process pins the tasks whose comm is --comm to CPU --cpu\n"
    "  --after-ms N     the fault begins N ms after the first of the tasks meant has come (default 0)\n"
    "  --comm PREFIX    the tasks meant: those whose comm begins with it\n"
    "  --cgroup NAME    the tasks meant: those whose cgroup has this last name\n"
    "  --cpu N          see starve-cpu, slow-dispatch and pin (default 0)\n"
    "  --ms N           see starve-cgroup and slow-dispatch (default 1000; slow-dispatch at most 2000)\n"
    "  --timeout-ms N   of the kernel's watchdog (default: the kernel's)\n"
    "  --loop           crash-loop: attach again after each crash, for ever\n"
    "  --stats          serve statistics as scx_stats does: how often they were asked for\n";

static const char* const faultNames[] = {
    [FAULT_NONE] = "none",
    [FAULT_STARVE_TASK] = "starve-task",
    [FAULT_STARVE_CGROUP] = "starve-cgroup",
    [FAULT_STARVE_CPU] = "starve-cpu",
    [FAULT_STALL] = "stall",
    [FAULT_WRONG_CPU] = "wrong-cpu",
    [FAULT_SLOW_DISPATCH] = "slow-dispatch",
    [FAULT_ERROR_EXIT] = "error-exit",
    [FAULT_CRASH_LOOP] = "crash-loop",
    [FAULT_PIN] = "pin",
};
enum { FAULTS = sizeof(faultNames) / sizeof(faultNames[0]) };

struct Options {
  enum Fault fault;
  unsigned afterMs, ms, timeoutMs, cpu;
  char comm[COMM_BYTES], cgroup[CGROUP_BYTES];
  bool loop, stats;
};

static volatile sig_atomic_t asked;  // to end

static void onSignal(int number) {
  asked = number;
}

static void refuse(const char* option, const char* value) {
  fprintf(stderr, "scx_fault: --%s cannot be \"%s\"\n", option, value);
  exit(2);
}

static unsigned number(const char* option, const char* value, unsigned limit) {
  char* end;
  const unsigned long parsed = strtoul(value, &end, 10);
  if (*value < '0' || *value > '9' || *end != '\0' || parsed > limit) refuse(option, value);
  return (unsigned)parsed;
}

static void name(const char* option, const char* value, char* out, size_t bytes) {
  if (*value == '\0' || strlen(value) >= bytes) refuse(option, value);
  strcpy(out, value);
}

static enum Fault faultOf(const char* value) {
  for (unsigned i = 0; i < FAULTS; i++) {
    if (strcmp(faultNames[i], value) == 0) return (enum Fault)i;
  }
  refuse("fault", value);
  return FAULT_NONE;
}

static struct Options parse(int argc, char** argv) {
  static const struct option known[] = {
      {"fault", required_argument, NULL, 'f'}, {"after-ms", required_argument, NULL, 'a'},
      {"comm", required_argument, NULL, 'c'},  {"cgroup", required_argument, NULL, 'g'},
      {"cpu", required_argument, NULL, 'p'},   {"ms", required_argument, NULL, 'm'},
      {"loop", no_argument, NULL, 'l'},        {"timeout-ms", required_argument, NULL, 't'},
      {"help", no_argument, NULL, 'h'},        {"stats", no_argument, NULL, 's'},
      {}};
  struct Options options = {.ms = 1000};
  for (int option, at; (option = getopt_long(argc, argv, "", known, &at)) != -1;) {
    switch (option) {
      case 'f':
        options.fault = faultOf(optarg);
        break;
      case 'a':
        options.afterMs = number("after-ms", optarg, 3600000);
        break;
      case 'c':
        name("comm", optarg, options.comm, sizeof(options.comm));
        break;
      case 'g':
        name("cgroup", optarg, options.cgroup, sizeof(options.cgroup));
        break;
      case 'p':
        options.cpu = number("cpu", optarg, 511);
        break;
      case 'm':
        options.ms = number("ms", optarg, 60000);
        break;
      case 't':
        options.timeoutMs = number("timeout-ms", optarg, 30000);
        break;
      case 'l':
        options.loop = true;
        break;
      case 's':
        options.stats = true;
        break;
      case 'h':
        fputs(help, stdout);
        exit(0);
      default:
        exit(2);
    }
  }
  if (optind < argc) refuse("fault", argv[optind]);
  if (options.fault == FAULT_SLOW_DISPATCH && options.ms > 2000) refuse("ms", "more than 2000");
  if (options.fault == FAULT_PIN && options.comm[0] == '\0') {
    fputs("scx_fault: pin needs --comm\n", stderr);
    exit(2);
  }
  const bool needsTask = options.fault == FAULT_STARVE_TASK || options.fault == FAULT_STARVE_CGROUP ||
                         options.fault == FAULT_WRONG_CPU;
  if (needsTask && options.comm[0] == '\0' && options.cgroup[0] == '\0') {
    fprintf(stderr, "scx_fault: %s needs --comm or --cgroup\n", faultNames[options.fault]);
    exit(2);
  }
  return options;
}

static struct scx_fault* load(const struct Options* options) {
  struct scx_fault* skel = SCX_OPS_OPEN(fault_ops, scx_fault);
  skel->bss->fault = options->fault;
  skel->rodata->afterNs = options->afterMs * 1000000ULL;
  skel->rodata->durationNs = options->ms * 1000000ULL;
  skel->rodata->faultCpu = (int)options->cpu;
  memcpy((char*)skel->rodata->commPrefix, options->comm, sizeof(options->comm));
  memcpy((char*)skel->rodata->cgroupName, options->cgroup, sizeof(options->cgroup));
  skel->struct_ops.fault_ops->timeout_ms = options->timeoutMs;
  SCX_OPS_LOAD(skel, fault_ops, scx_fault, uei);
  return skel;
}

static uint64_t nowMs(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000ULL + now.tv_nsec / 1000000;
}

static bool isCalled(const char* pid, const char* comm) {
  char path[300], line[COMM_BYTES + 1] = "";
  snprintf(path, sizeof(path), "/proc/%s/comm", pid);
  FILE* file = fopen(path, "r");
  if (file == NULL) return false;
  const bool got = fgets(line, sizeof(line), file) != NULL;
  fclose(file);
  line[strcspn(line, "\n")] = '\0';
  return got && strcmp(line, comm) == 0;
}

static void pinAll(const char* comm, unsigned cpu) {
  cpu_set_t only;
  CPU_ZERO(&only);
  CPU_SET(cpu, &only);
  DIR* proc = opendir("/proc");
  for (struct dirent* each; proc != NULL && (each = readdir(proc)) != NULL;) {
    if (*each->d_name >= '0' && *each->d_name <= '9' && isCalled(each->d_name, comm))
      sched_setaffinity(atoi(each->d_name), sizeof(only), &only);
  }
  if (proc != NULL) closedir(proc);
}

static int listenForStats(void) {
  static const char path[] = "/var/run/scx/root/stats";
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  memcpy(address.sun_path, path, sizeof(path));
  mkdir("/var", 0755), mkdir("/var/run", 0755), mkdir("/var/run/scx", 0755), mkdir("/var/run/scx/root", 0755);
  unlink(path);
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (bind(listener, (struct sockaddr*)&address, sizeof(address)) != 0 || listen(listener, 4) != 0) {
    perror("scx_fault: --stats");
    exit(1);
  }
  return listener;
}

// One line each way, as the agent of the guest sends it at once.
static void answerStats(int listener) {
  static unsigned asks;
  char line[256];
  const int peer = accept(listener, NULL, NULL);
  if (peer < 0) return;
  if (recv(peer, line, sizeof(line), 0) > 0)
    dprintf(peer, "{\"errno\":0,\"args\":{\"resp\":{\"asks\":%u}}}\n", ++asks);
  close(peer);
}

// Attaches, waits for the end, and returns the exit code: 0 if it was asked to end.
static int runOnce(const struct Options* options) {
  struct scx_fault* skel = load(options);
  struct bpf_link* link = SCX_OPS_ATTACH(skel, fault_ops, scx_fault);
  const uint64_t crashAt = nowMs() + options->afterMs;
  fprintf(stderr, "scx_fault: attached; fault %s after %u ms\n", faultNames[options->fault],
          options->afterMs);
  const int listener = options->stats ? listenForStats() : -1;
  while (!asked && !UEI_EXITED(skel, uei)) {
    if (listener >= 0) answerStats(listener);
    if (options->fault == FAULT_CRASH_LOOP && nowMs() >= crashAt) {
      fprintf(stderr, "scx_fault: crashes\n");
      signal(SIGSEGV, SIG_DFL);
      raise(SIGSEGV);
    }
    if (options->fault == FAULT_PIN) pinAll(options->comm, options->cpu);
    usleep(10000);
  }
  bpf_link__destroy(link);
  UEI_REPORT(skel, uei);
  scx_fault__destroy(skel);
  return asked ? 0 : 1;
}

// A supervisor such as a service manager's: starts it again whenever it has crashed.
static int runForEver(const struct Options* options) {
  for (unsigned round = 1; !asked; round++) {
    const pid_t child = fork();
    if (child == 0) exit(runOnce(options));
    int status = 0;
    while (child > 0 && waitpid(child, &status, 0) < 0) continue;
    fprintf(stderr, "scx_fault: round %u ended with status 0x%x\n", round, status);
  }
  return 0;
}

int main(int argc, char** argv) {
  const struct Options options = parse(argc, argv);
  signal(SIGINT, onSignal);
  signal(SIGTERM, onSignal);
  return options.loop ? runForEver(&options) : runOnce(&options);
}
