#include "cache/fetcher.h"

#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "cache/apt.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr::cache {
namespace {

constexpr size_t maxLine = size_t{1} << 16;

std::vector<std::string> wordsOf(const std::string& line) {
  std::vector<std::string> words;
  size_t start = 0;
  for (;;) {
    const size_t tab = line.find('\t', start);
    words.push_back(line.substr(start, tab - start));
    if (tab == line.npos) return words;
    start = tab + 1;
  }
}

// One line's worth of a text: no tabs, no newlines.
std::string word(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c == '\t' || c == '\n') c = ' ';
  }
  return result;
}

// The next line, or nothing when the other side is gone.
std::optional<std::string> nextLine(int fd, std::string& pending) {
  for (;;) {
    if (const size_t end = pending.find('\n'); end != pending.npos) {
      std::string line = pending.substr(0, end);
      pending.erase(0, end + 1);
      return line;
    }
    char buffer[4096];
    const ssize_t got = read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0 || pending.size() > maxLine) return std::nullopt;
    pending.append(buffer, static_cast<size_t>(got));
  }
}

void answer(Apt& apt, const std::vector<std::string>& words,
            const std::function<void(const std::string&)>& say) {
  const OnProgress progress = [&](int percent, std::string_view what) {
    say(text("progress\t", percent, "\t", word(what)));
  };
  if (words[0] == "download") {
    std::vector<DebianPackage> packages;
    for (size_t i = 1; i + 1 < words.size(); i += 2) packages.push_back({words[i], words[i + 1]});
    for (const std::string& path : apt.download(packages, progress)) say("file\t" + path);
    return;
  }
  for (const DebianPackage& p : apt.packages(words[0] == "packages-fresh", progress)) {
    say(text("package\t", p.name, "\t", p.version, "\t", p.onlyDepends ? "split" : "whole"));
  }
}

[[noreturn]] void runChild(const Fd& socket, const std::string& aptRoot, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  const auto say = [&](const std::string& line) { writeAll(socket.get(), line + "\n"); };
  std::string pending;
  int status = 0;
  try {
    Apt apt(aptRoot);
    while (const auto line = nextLine(socket.get(), pending)) {
      try {
        answer(apt, wordsOf(*line), say);
        say("end");
      } catch (const Error& error) {
        say(text("error\t", word(error.name()), "\t", static_cast<int>(error.code()), "\t",
                 word(error.message()), "\t", word(error.hint())));
      }
    }
  } catch (const std::exception&) {
    status = 1;  // the other side is gone
  }
  _exit(status);
}

}  // namespace

Fetcher Fetcher::start(const std::string& aptRoot) {
  auto [ours, theirs] = makeSocketPair();
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) throw errnoError("spawn-failed", "fork the fetcher");
  if (child == 0) {
    ours.reset();
    signal(SIGPIPE, SIG_IGN);
    runChild(theirs, aptRoot, parent);
  }
  return Fetcher(std::move(ours));
}

std::string Fetcher::readLine() {
  if (auto line = nextLine(socket_.get(), pending_)) return *line;
  throw Error(ExitCode::infrastructure, "fetcher-died", "the process that runs apt-get ended unexpectedly",
              "run the command again; KTSTR_LOG=debug tells more");
}

void Fetcher::request(const std::string& line, const OnProgress& progress, const OnLine& onLine) {
  writeAll(socket_.get(), line + "\n");
  for (;;) {
    const std::vector<std::string> words = wordsOf(readLine());
    if (words[0] == "end") return;
    if (words[0] == "error" && words.size() == 5) {
      throw Error(words[2] == "2" ? ExitCode::usage : ExitCode::infrastructure, words[1], words[3], words[4]);
    }
    if (words[0] == "progress" && words.size() == 3) {
      if (progress) progress(atoi(words[1].c_str()), words[2]);
    } else {
      onLine(words);
    }
  }
}

std::vector<DebianPackage> Fetcher::packages(bool fresh, const OnProgress& progress) {
  std::vector<DebianPackage> result;
  request(fresh ? "packages-fresh" : "packages", progress, [&](const std::vector<std::string>& words) {
    if (words[0] == "package" && words.size() == 4)
      result.push_back({words[1], words[2], words[3] == "split"});
  });
  return result;
}

std::vector<std::string> Fetcher::download(const std::vector<DebianPackage>& packages,
                                           const OnProgress& progress) {
  std::string line = "download";
  for (const DebianPackage& p : packages) line += text("\t", p.name, "\t", p.version);
  std::vector<std::string> paths;
  request(line, progress, [&](const std::vector<std::string>& words) {
    if (words[0] == "file" && words.size() == 2) paths.push_back(words[1]);
  });
  if (paths.size() == packages.size()) return paths;
  throw Error(ExitCode::infrastructure, "kernel-unavailable",
              text(paths.size(), " of ", packages.size(), " packages were downloaded"),
              "run the command again");
}

}  // namespace ktstr::cache
