/// <reference path="./native.d.ts" />
/** What a program needs besides system calls: its arguments, its output, its end. */
import { args, exit } from "cfsboot:host";
import { fromText, toBytes } from "../src/formats/bytestring.ts";
import { writeAll } from "../src/linux/files.ts";
import { linux } from "./linux.ts";

export interface Runtime {
  /** The arguments, without the program's name. */
  readonly args: readonly string[];
  /** Writes text as it is, in UTF-8: no newline is added. */
  stdout(text: string): void;
  stderr(text: string): void;
  /** Ends the process at once. */
  exit(status: number): never;
}

export const runtime: Runtime = {
  args,
  stdout: (text) => writeAll(linux, 1, toBytes(fromText(text))),
  stderr: (text) => writeAll(linux, 2, toBytes(fromText(text))),
  exit,
};
