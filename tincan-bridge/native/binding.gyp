{
  "targets": [
    {
      "target_name": "evio",
      "sources": [
        "addon.cpp",
        "arguments.cpp",
        "coalescing.cpp",
        "commands.cpp",
        "engine.cpp",
        "frame.cpp",
        "handshake-addon.cpp",
        "handshake.cpp",
        "inbound.cpp",
        "netlink.cpp",
        "outbound.cpp",
        "records.cpp",
        "segmentation.cpp",
        "tables.cpp",
        "tap.cpp",
        "transmit.cpp",
        "udp.cpp",
        "upcalls.cpp"
      ],
      "defines": ["NAPI_VERSION=9", "_GNU_SOURCE"],
      "variables": { "sanitize%": "<!(echo ${EVIO_SANITIZE:-none})" },
      "cflags_cc!": ["-std=gnu++20", "-std=gnu++17"],
      "cflags_cc": [
        "-std=gnu++17",
        "-O3",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fvisibility=hidden",
        "-fno-strict-aliasing"
      ],
      "conditions": [
        [
          "sanitize!='none'",
          {
            "cflags_cc": ["-fsanitize=<(sanitize)", "-g", "-O1", "-fno-omit-frame-pointer"],
            "ldflags": ["-fsanitize=<(sanitize)"]
          }
        ]
      ]
    }
  ]
}
