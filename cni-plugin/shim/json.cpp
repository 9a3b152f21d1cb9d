/** JSON quoting, and a scanner for one member. Owns no state; allocates only what it returns. */
#include "json.h"

#include <cstdio>

namespace evio {

std::string quoted(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 8 + 2);
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      char escape[8];
      snprintf(escape, sizeof escape, "\\u%04x", byte);
      out += escape;
    } else {
      out += c;
    }
  }
  out += '"';
  return out;
}

namespace {

size_t skipSpace(std::string_view json, size_t at) {
  while (at < json.size() && (json[at] == ' ' || json[at] == '\t' || json[at] == '\n' || json[at] == '\r')) at += 1;
  return at;
}

/** Position after the closing quote of the string that begins at `at`, or npos. */
size_t endOfString(std::string_view json, size_t at) {
  for (size_t i = at + 1; i < json.size(); i += 1) {
    if (json[i] == '\\') i += 1;
    else if (json[i] == '"') return i + 1;
  }
  return std::string_view::npos;
}

}  // namespace

std::optional<std::string_view> topLevelString(std::string_view json, std::string_view key) {
  size_t depth = 0;
  for (size_t i = 0; i < json.size(); i += 1) {
    const char c = json[i];
    if (c == '{' || c == '[') depth += 1;
    else if (c == '}' || c == ']') depth = depth == 0 ? 0 : depth - 1;
    if (c != '"') continue;
    const size_t end = endOfString(json, i);
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view name = json.substr(i + 1, end - i - 2);
    i = end - 1;
    if (depth != 1 || name != key) continue;
    // A value that reads like the key is followed by a comma, not by a colon.
    size_t value = skipSpace(json, end);
    if (value >= json.size() || json[value] != ':') continue;
    value = skipSpace(json, value + 1);
    if (value >= json.size() || json[value] != '"') return std::nullopt;
    const size_t valueEnd = endOfString(json, value);
    if (valueEnd == std::string_view::npos) return std::nullopt;
    const std::string_view text = json.substr(value + 1, valueEnd - value - 2);
    if (text.find('\\') != std::string_view::npos) return std::nullopt;
    return text;
  }
  return std::nullopt;
}

}  // namespace evio
