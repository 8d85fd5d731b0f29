#!/usr/bin/env node
import { execFileSync } from "node:child_process";
import { mkdirSync, renameSync } from "node:fs";

mkdirSync("dist", { recursive: true });
execFileSync(
  "cc",
  [
    ..."-shared -fPIC -O2 -Wall -Wextra -Inode_modules/node-api-headers/include".split(" "),
    ..."native/linux.c native/napi.c -o dist/linux.node.new".split(" "),
  ],
  { stdio: "inherit" },
);
renameSync("dist/linux.node.new", "dist/linux.node");
