/** `cfsboot install finalize` */
import type { Command } from "commander";
import { addExamples } from "./example.ts";
import { jsonOption, Report } from "./report.ts";

export function registerFinalize(install: Command): void {
  addExamples(
    install
      .command("finalize")
      .description(
        "trim a file system and freeze it for a moment, so that all of it is in its place",
      )
      .argument("<root>", "a directory of it")
      .addOption(jsonOption())
      .action(finalize),
    "cfsboot install finalize /mnt",
    "cfsboot install finalize --json /mnt",
  );
}

async function finalize(root: string, { json }: { readonly json: boolean }): Promise<void> {
  const { AT_FDCWD } = await import("../../src/linux/constants.ts");
  const { openDirectory } = await import("../../src/linux/directories.ts");
  const { finishFileSystem } = await import("../install/finish.ts");
  const { linux } = await import("../linux.ts");
  const fd = openDirectory(linux, AT_FDCWD, root);
  try {
    finishFileSystem(linux, fd);
  } finally {
    linux.close(fd);
  }
  const report = new Report({ json, dryRun: false });
  report.note([{ do: "finish-file-system", path: root }]);
  return report.end({});
}
