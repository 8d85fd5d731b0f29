/** The modules that are compiled into the executable: native/quickjs.c and initrd/host.c. */

declare module "cfsboot:linux" {
  const calls: import("../src/linux/native.ts").NativeCalls;
  export = calls;
}

declare module "cfsboot:host" {
  /** The arguments, without the program's name. */
  export const args: string[];
  /** Ends the process at once; status 0 becomes 1 if a rejected promise was left unhandled. */
  export function exit(status: number): never;
}
