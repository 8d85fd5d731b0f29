/** `cfsboot erofs`: images of composefs as files, without a repository. */
import type { Command } from "commander";
import { registerBuild } from "./erofs-build.ts";
import { registerCheck } from "./erofs-fsck.ts";
import { registerShow } from "./erofs-show.ts";

export function register(program: Command): void {
  const erofs = program.command("erofs").description("write and read EROFS images");
  registerBuild(erofs);
  registerShow(erofs);
  registerCheck(erofs);
}
