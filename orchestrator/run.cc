#include "orchestrator/run.h"

#include <fcntl.h>
#include <kj/async-unix.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "orchestrator/guest_options.h"
#include "orchestrator/guest_record.h"
#include "orchestrator/host.h"
#include "orchestrator/judge_parts.h"
#include "orchestrator/kvm_probe.h"
#include "orchestrator/performance.h"
#include "orchestrator/phase_limits.h"
#include "orchestrator/record_store.h"
#include "orchestrator/relative.h"
#include "orchestrator/resolve.h"
#include "orchestrator/session.h"
#include "orchestrator/timeline.h"
#include "protocol/file.h"
#include "protocol/json.h"
#include "protocol/log.h"
#include "protocol/socket.h"
#include "protocol/sparse.h"
#include "protocol/text.h"
#include "protocol/transport.h"
#include "version.h"

namespace ktstr {
namespace {

uint64_t unixMs() {
  using namespace std::chrono;
  return static_cast<uint64_t>(duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count());
}

uint32_t memoryMib(const RunOptions& options) {
  if (const auto declared = options.topology.memoryMib()) return *declared;
  if (options.memoryMib != 0) return options.memoryMib;
  const uint32_t vcpus = options.topology.vcpus();
  return 512 + 64 * (vcpus > 8 ? vcpus - 8 : 0);
}

// A vCPU of an overcommitted machine is off the host's CPUs for several samples in a row without anybody's
// fault, so the default window grows with the overcommitment; and it lasts as long, however short the period.
// What the scenario itself says is kept.
Limits limitsOf(const RunOptions& options, rpc::Scenario::Reader scenario, uint32_t hostCpus) {
  Limits limits = mergeAssertions(scenario);
  if (!limits.sustainedSamples.asked() && hostCpus > 0) {
    const uint32_t vcpusPerCpu = (options.topology.vcpus() + hostCpus - 1) / hostCpus;
    const uint32_t samplesInUsualPeriod = std::max(1u, usualSamplePeriodMs / options.samplePeriodMs);
    limits.sustainedSamples = {limits.sustainedSamples.value() * vcpusPerCpu * samplesInUsualPeriod};
  }
  return limits;
}

// What is chosen before anything runs. Throws for an accelerator that is not there.
std::string chooseAccelerator(const std::string& wanted, rpc::HostFacts::Builder facts) {
  const KvmVerdict probe = probeKvm();
  facts.setKvm(probe.json());
  const bool kvm = probe.kind == KvmKind::hardware;
  if (wanted == "kvm" && !kvm) {
    throw Error(ExitCode::usage, "accelerator-missing", "/dev/kvm runs no Linux here: " + probe.json(),
                "run with --accel tcg or --accel auto");
  }
  return kvm && wanted != "tcg" ? "kvm" : "tcg";
}

// What a VMM that stands by runs its machine on, whatever this process could do with /dev/kvm itself.
std::string acceleratorOf(MachineLink& machine, const RunOptions& options, kj::WaitScope& waitScope,
                          rpc::HostFacts::Builder facts) {
  std::string there = machine.info().wait(waitScope).getAccelerator();
  if (options.accelerator != "auto" && options.accelerator != there) {
    throw Error(
        ExitCode::usage, "accelerator-missing",
        text("the VMM in ", options.vmm, " runs machines on ", there, ", not on ", options.accelerator),
        "leave out --accel");
  }
  facts.setKvm(text("held by the VMM in ", options.vmm));
  return there;
}

// A monitor and a cache of our own, or the records of a monitor that somebody else runs.
Helpers findHelpers(const RunOptions& options, Fd observe, const cache::Entry& kernel) {
  if (!options.samples.empty()) {
    Helpers helpers;
    // Standard input may be another user's pipe, which cannot be opened a second time.
    helpers.monitorOutput = options.samples == "-" ? Fd(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3))
                                                   : openFile(options.samples, O_RDONLY);
    return helpers;
  }
  if (!options.vmm.empty()) observe = connectUnix(options.vmm + "/observe.sock");
  return startHelpers(std::move(observe), kernel.record().getKernel().getBuildId().cStr(), options.guest,
                      options.samplePeriodMs);
}

// Everything of one run that is settled before its machine exists.
struct Plan {
  capnp::MallocMessageBuilder scenarioMessage;
  rpc::Scenario::Reader scenario;
  std::optional<cache::Entry> kernel;
  Fd kernelFile;
  Programs programs;
  CachedBase base;
  std::vector<CpuidLeaf> kvmCpuid;
  PerformancePlan performance;
};

void resolvePlan(const RunOptions& options, Phases& phases, Plan& plan) {
  phases.begin("resolve");
  auto scenario = plan.scenarioMessage.initRoot<rpc::Scenario>();
  loadScenario(options, scenario, isLoaded(options.scheduler));
  plan.scenario = scenario.asReader();
  checkScenarioWrites(options, plan.scenario);
  const cache::Store store = cache::Store::open();
  phases.clearLine();  // the tools that run now show their own progress
  plan.kernel = resolveKernel(store, options.kernel);
  plan.kernelFile = plan.kernel->open(options.throughBzImage ? "vmlinuz" : "vmlinux");
  plan.programs = resolvePrograms(options.scheduler, plan.scenario, *plan.kernel);
  phases.begin("image");
  plan.base = resolveImage(store, plan.programs, options.guest);
}

BootRequest bootRequest(const RunOptions& options, const Plan& plan, std::span<const std::byte> suffix,
                        std::span<const std::byte> orders) {
  BootRequest request;
  request.topology = options.topology;
  request.memoryBytes = uint64_t{memoryMib(options)} << 20;
  request.kernelFd = plan.kernelFile.get();
  request.throughBzImage = options.throughBzImage;
  request.extraCommandLine = options.commandLine;
  request.baseFd = plan.base.file.get();
  request.baseLength = plan.base.length;
  request.suffix = suffix;
  request.orders = orders;
  request.kvmCpuid = plan.kvmCpuid;
  request.realTimeHints = plan.performance.host.has_value();
  return request;
}

void describeRun(const RunOptions& options, const Plan& plan, const PendingRecord& pending,
                 rpc::RunRecord::Builder record) {
  record.setId(pending.id());
  record.setDirectory(pending.directory());
  record.setKtstrVersion(KTSTR_VERSION);
  record.setScenario(plan.scenario.getName());
  record.setTopology(options.topology.toString());
  record.setMemoryMib(memoryMib(options));
  record.setScheduler(plan.programs.underTest.name);
  record.setKernel(plan.kernel->record().getKernel());
  auto arguments = record.initSchedulerArgs(static_cast<uint>(options.schedulerArgs.size()));
  for (uint i = 0; i < arguments.size(); i++) arguments.set(i, options.schedulerArgs[i]);
  writeSettings(options, record.initSettings());
}

void judgeRun(const RunOptions& options, const Session& session, const Plan& plan, const Limits& limits,
              rpc::RunRecord::Builder record) {
  const Passes passes = splitPasses(session.events());
  const auto& events = passes.scheduler;
  fillGuest(events, plan.programs.underTest.name, record);
  const auto groups = groupReports(plan.scenario, workerReports(events));
  auto written = record.initGroups(static_cast<uint>(groups.size()));
  for (uint i = 0; i < written.size(); i++) writeGroup(groups[i], written[i]);
  writeTimeline({plan.scenario, events, session.samples(), session.clock(), options.samplePeriodMs}, record);
  writeClock(session.clock(), record);

  const Evidence evidence = {plan.scenario,
                             limits,
                             plan.programs.underTest.hostPath.empty() ? "" : plan.programs.underTest.name,
                             events,
                             session.monitor(),
                             classifyConsole(session.console()),
                             session.lifecycle(),
                             record.asReader().getAccelerator() == "tcg",
                             wantsBaseline(options, plan.scenario),
                             passes.baseline,
                             session.writes().mapWrites(),
                             session.writes().watchdog(),
                             session.clock(),
                             plan.performance.host.has_value()};
  writeVerdict(judge(evidence), record.initVerdict());
  writeLimits(limits, record);
  if (!passes.baseline.empty()) {
    const auto again = groupReports(plan.scenario, workerReports(passes.baseline));
    writeBaseline(relativeFigures(groups, again), record);
  }
  writeSnapshots(session.snapshots().facts(), session.clock(), readEvents(events).scenarioStartNs, record);
  writeMonitorSummary(evidence.monitor, record.initMonitor());
  if (const auto attached = session.attached()) record.setMonitorAttach(*attached);
  auto mapWrites = record.initMapWrites(static_cast<uint>(evidence.mapWrites.outcomes.size()));
  for (uint i = 0; i < mapWrites.size(); i++) mapWrites.setWithCaveats(i, evidence.mapWrites.outcomes[i]);
  auto watchdog = record.initWatchdog(static_cast<uint>(evidence.watchdog.outcomes.size()));
  for (uint i = 0; i < watchdog.size(); i++) watchdog.setWithCaveats(i, evidence.watchdog.outcomes[i]);
  if (evidence.lifecycle.exit) {
    auto exit = record.initExit();
    exit.setKind(*evidence.lifecycle.exit);
    exit.setDetail(evidence.lifecycle.exitDetail);
  }
}

void writePhases(const Phases& phases, rpc::RunRecord::Builder record) {
  auto list = record.initPhases(static_cast<uint>(phases.list().size()));
  for (uint i = 0; i < list.size(); i++) {
    const PhaseTime& phase = phases.list()[i];
    list[i].setName(phase.name);
    list[i].setStartMs(phase.startMs);
    list[i].setDurationMs(phase.durationMs);
  }
}

// Copies RAM, holes left out, into the file that was opened for it.
void keepRam(int ram, int file) {
  const uint64_t size = fileSize(ram);
  if (ftruncate(file, static_cast<off_t>(size)) != 0) throw errnoError("write-failed", "size ram.bin");
  struct stat status {};
  if (fstat(ram, &status) == 0 && status.st_blksize > 4096) {  // huge pages: nothing to seek holes in
    writeSparse(file, 0, Mapping(ram, 0, size, PROT_READ).bytes());
  } else {
    copySparse(ram, 0, file, 0, size);
  }
}

}  // namespace

Sandbox orchestratorSandbox(int listener) {
  Sandbox sandbox("ktstr-orchestrator");
  sandbox.allowBasics().allowHeap().allowEventLoop();
  // The machine: memory objects are made, filled and mapped; the kernel image is read.
  sandbox.allow("memfd_create").allow("ftruncate").allow("pwrite64").allow("pread64").allow("lseek");
  sandbox.allow("mmap", {{2, PROT_READ | PROT_WRITE}, {3, MAP_SHARED}}).allow("mmap", {{2, PROT_READ}});
  sandbox.allow("mbind").allow("get_mempolicy");
  sandbox.allow("copy_file_range").allow("sendfile").allow("fadvise64").allow("fallocate");
  sandbox.allowAccept(listener);  // who wants a snapshot
  // The children: told to end, and waited for.
  sandbox.allow("kill")
      .allow("wait4")
      .allow("waitid")
      .allow("pidfd_send_signal")
      .allow("poll")
      .allow("ppoll");
  // The record: completed, or removed.
  sandbox.allow("fsync")
      .allow("fdatasync")
      .allow("renameat")
      .allow("renameat2")
      .allow("unlinkat")
      .allow("getdents64");
  sandbox.limit(RLIMIT_CORE, 0).limit(RLIMIT_NPROC, 0);
  return sandbox;
}

void runOnce(const RunOptions& options, rpc::RunRecord::Builder record) {
  Phases phases(options.progress);
  Plan plan;
  record.setStartedUnixMs(unixMs());
  plan.performance = planPerformance(options, uint64_t{memoryMib(options)} << 20);
  resolvePlan(options, phases, plan);

  phases.begin("start");
  readHostFacts(record.initHost());
  std::string accelerator;
  if (options.vmm.empty()) accelerator = chooseAccelerator(options.accelerator, record.getHost());
  auto io = kj::setupAsyncIo();
  std::optional<MachineLink> machine;
  if (!options.vmm.empty()) {
    machine.emplace(*io.lowLevelProvider, connectUnix(options.vmm + "/control.sock"));
    accelerator = acceleratorOf(*machine, options, io.waitScope, record.getHost());
  }
  fitAccelerator(plan.performance, accelerator, record.getHost().getKvm().cStr());
  record.setAccelerator(accelerator);
  // From here on there is something to judge and to clean up: signals wait for the session.
  kj::UnixEventPort::captureSignal(SIGINT);
  kj::UnixEventPort::captureSignal(SIGTERM);
  PendingRecord pending = RecordStore::open().begin(plan.scenario.getName().cStr(),
                                                    plan.programs.underTest.name, record.getStartedUnixMs());
  describeRun(options, plan, pending, record);
  const Fd ramFile = options.keep ? openFile(pending.partialPath("ram.bin"), O_RDWR | O_CREAT, 0600) : Fd();

  if (plan.performance.host) takeServicePlace(*plan.performance.host);
  Fd observe;
  if (!machine) {
    const std::string program = accelerator == "kvm" ? "ktstr-vmm" : "ktstr-vmm-tcg";
    machine.emplace(*io.lowLevelProvider, toolPath(program), observe);
  }
  Helpers helpers = findHelpers(options, std::move(observe), *plan.kernel);
  const auto info = machine->info().wait(io.waitScope);
  record.getHost().setEngine(info.getEngine());
  plan.kvmCpuid = offeredCpuid(info);

  CopyHelper copyHelper;
  Fd listener = pending.listen();
  orchestratorSandbox(listener.get())
      .lockDown();  // from here on no file is opened, no process started, no socket made

  phases.begin("prepare");
  const auto suffix = makeSuffix(pending.id());
  const auto orders = makeOrders(options, plan.scenario, plan.programs, pending.id());
  const auto orderBytes = std::as_bytes(std::span(orders.begin(), orders.size()));
  pending.append(RecordFile::scenario, toJson(plan.scenario, {.pretty = true}) + "\n");
  const Limits limits = limitsOf(options, plan.scenario, record.getHost().getCpus());
  BootRequest request = bootRequest(options, plan, suffix, orderBytes);
  request.copyHelper = &copyHelper;
  Session session(io, *machine, helpers, phases, pending, phaseLimits(options, plan.scenario), limits,
                  plan.scenario, !plan.programs.underTest.hostPath.empty(), options.samplePeriodMs);
  PreparedRam prepared = prepareMachine(request);
  if (plan.performance.host) {
    prepared.ram = moveToHugePages(prepared.ram.get(), memoryPlacement(prepared, *plan.performance.host));
  }
  AcceptOptions accept;
  accept.name = "run.sock";
  accept.bootstrap = [&](uid_t) { return kj::heap<SnapshotServer>(session.snapshots()); };
  const auto listening = serve(io, std::move(listener), accept).eagerlyEvaluate(nullptr);
  session.run(std::move(prepared), plan.base.file.get(), orderBytes,
              [&](rpc::Placement::Builder placement) { writePlacement(plan.performance, placement); });
  if (!session.lifecycle().error) writePerformance(options, plan.performance, record.initPerformance());

  phases.begin("judge");
  judgeRun(options, session, plan, limits, record);
  if (const auto over = overCleanupBudget(options, phases)) addFinding(record, *over, rpc::Outcome::FAIL);
  phases.end();
  writePhases(phases, record);
  phases.clearLine();
  try {
    if (ramFile) keepRam(session.ram(), ramFile.get());
    pending.finish(record.asReader());
  } catch (const Error& error) {
    addFinding(record, error, rpc::Outcome::INFRASTRUCTURE);
    record.setDirectory("");
  }
}

}  // namespace ktstr
