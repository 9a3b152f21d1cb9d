/**
 * evio-cni, the executable that container runtimes call: it forwards CNI_* and standard input to
 * the controller and prints what that says. Answers VERSION itself, and says so by the codes of
 * the CNI specification when there is no controller. Decides nothing, never touches the network.
 */
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <poll.h>
#include <string>
#include <string_view>
#include <unistd.h>

#include "controller.h"
#include "json.h"
#include "limits.h"

namespace {

using evio::quoted;

constexpr const char* defaultSocket = "/run/evio/controller.sock";
constexpr const char* newestVersion = "1.1.0";

/** Codes of the CNI specification, section "Error". */
enum Code : int {
  invalidEnvironment = 4,
  ioFailure = 5,
  decodeFailure = 6,
  invalidConfig = 7,
  tryAgainLater = 11,
  limitedConnectivity = 51,
  refusedByController = 100,
};

void print(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(STDOUT_FILENO, text.data(), text.size());
    if (written > 0) text.remove_prefix(static_cast<size_t>(written));
    else if (written < 0 && errno != EINTR) return;  // nobody reads: there is nobody to tell
  }
}

/** Prints an error result and gives the exit status. */
int fail(std::string_view version, Code code, std::string_view message, std::string_view details = {}) {
  print("{\"cniVersion\":" + quoted(version) + ",\"code\":" + std::to_string(code) +
        ",\"msg\":" + quoted(message) +
        (details.empty() ? std::string() : ",\"details\":" + quoted(details)) + "}\n");
  return 1;
}

/** Standard input, or why it cannot be had. */
const char* readConfig(std::string& config) {
  const long long endMs = evio::nowMs() + evio::readConfigMs;
  char chunk[16 << 10];
  for (;;) {
    pollfd watched{STDIN_FILENO, POLLIN, 0};
    const long long leftMs = endMs - evio::nowMs();
    if (leftMs <= 0) return "no end of standard input within 10 s";
    if (poll(&watched, 1, static_cast<int>(leftMs)) == 0) continue;
    const ssize_t count = read(STDIN_FILENO, chunk, sizeof chunk);
    if (count == 0) return nullptr;
    if (count < 0) {
      if (errno == EINTR) continue;
      return "standard input cannot be read";
    }
    if (config.size() + static_cast<size_t>(count) > evio::maxConfigBytes) {
      return "the network configuration is larger than 1 MiB";
    }
    config.append(chunk, static_cast<size_t>(count));
  }
}

struct Variable {
  const char* name;
  const char* member;
};
constexpr Variable variables[] = {
    {"CNI_COMMAND", "command"}, {"CNI_CONTAINERID", "containerId"}, {"CNI_NETNS", "netns"},
    {"CNI_IFNAME", "ifname"},   {"CNI_ARGS", "args"},               {"CNI_PATH", "path"},
};

/** The configuration's version where it is one that can be printed, else the newest. */
std::string versionOf(std::string_view config) {
  const auto found = evio::topLevelString(config, "cniVersion");
  if (!found || found->empty() || found->size() > 32) return newestVersion;
  for (const char c : *found) if ((c < '0' || c > '9') && c != '.') return newestVersion;
  return std::string(*found);
}

int answerVersion(std::string_view version) {
  print("{\"cniVersion\":" + quoted(version) +
        ",\"supportedVersions\":[\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n");
  return 0;
}

int forward(std::string_view command, std::string_view config, const std::string& version,
            const std::string& request) {
  const auto named = evio::topLevelString(config, "socket");
  const std::string socketPath(named.value_or(defaultSocket));
  if (socketPath.empty() || socketPath[0] != '/' || socketPath.size() > 107) {
    return fail(version, invalidConfig, "socket is not an absolute path of at most 107 bytes", socketPath);
  }
  const bool isStatus = command == "STATUS";
  const auto answer = evio::ask(socketPath, request, isStatus ? 0 : evio::waitForControllerMs,
                                isStatus ? evio::statusAnswerMs : evio::answerMs);
  using Kind = evio::Answer::Kind;
  if (answer.kind != Kind::answered) {
    // Without its controller a node has no tunnels: what is attached is cut off too.
    return fail(version, isStatus ? limitedConnectivity : tryAgainLater,
                answer.kind == Kind::absent ? "the evio controller is not running" : "the evio controller did not answer",
                answer.why);
  }
  if (answer.status == 200 || answer.status == 422) {
    print(answer.body);
    return answer.status == 200 ? 0 : 1;
  }
  return fail(version, refusedByController, "the evio controller refused the request",
              answer.body.substr(0, 500));
}

}  // namespace

int main() {
  std::string request = "{";
  std::string command;
  for (const auto& [name, member] : variables) {
    const char* value = getenv(name);
    const std::string_view text = value == nullptr ? "" : value;
    if (text.size() > evio::maxVariableBytes) {
      return fail(newestVersion, invalidEnvironment, std::string(name) + " is longer than 16 KiB");
    }
    if (strcmp(name, "CNI_COMMAND") == 0) command = text;
    request += quoted(member) + ":" + quoted(text) + ",";
  }
  if (command.empty()) {
    // By this text `evio cni install` knows an executable as ours.
    return fail(newestVersion, invalidEnvironment, "CNI_COMMAND is not set",
                "evio-cni is called by a container runtime, not by people");
  }
  std::string config;
  if (const char* why = readConfig(config)) {
    return fail(newestVersion, strstr(why, "larger") ? decodeFailure : ioFailure, why);
  }
  const size_t first = config.find_first_not_of(" \t\r\n");
  if (first == std::string::npos || config[first] != '{') {
    return fail(newestVersion, decodeFailure, "the network configuration is no JSON object");
  }
  const std::string version = versionOf(config);
  if (command == "VERSION") return answerVersion(version);
  request += "\"config\":" + quoted(config) + "}";
  return forward(command, config, version, request);
}
