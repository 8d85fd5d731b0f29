/**
 * What a registry's 401 asks for, and the `Authorization` that answers it: Basic, or a Bearer token that its token
 * server gives for credentials or to anybody (the distribution registry's token and OAuth2 protocols).
 */
import type { Credentials } from "./credentials.ts";
import { display, type HttpClient, readBody, statusError, USER_AGENT } from "./http.ts";

/** One challenge of a `WWW-Authenticate` header. Scheme and parameter names are lower case. */
export interface Challenge {
  readonly scheme: string;
  readonly parameters: ReadonlyMap<string, string>;
}

/** Challenges of a `WWW-Authenticate` header (RFC 9110 section 11.6.1). What cannot be read ends the list. */
export function parseChallenges(header: string): Challenge[] {
  const challenges: { scheme: string; parameters: Map<string, string> }[] = [];
  const token = /[ \t,]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)/y;
  const value = /[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([!#$%&'*+.^_`|~0-9A-Za-z/:-]+))/y;
  for (let at = 0; ; ) {
    token.lastIndex = at;
    const name = token.exec(header)?.[1]?.toLowerCase();
    if (name === undefined) return challenges;
    at = token.lastIndex;
    value.lastIndex = at;
    const match = value.exec(header);
    if (match === null) {
      challenges.push({ scheme: name, parameters: new Map() });
      continue;
    }
    at = value.lastIndex;
    const text = match[2] ?? match[1]!.replace(/\\(.)/g, "$1");
    challenges.at(-1)?.parameters.set(name, text);
  }
}

/** Tokens without a stated life time live this long, in seconds. */
const TOKEN_LIFE = 60;
const TOKEN_LIMIT = 1024 * 1024;

/** The authorization for some repositories of one registry. Renews tokens. */
export class Authorization {
  readonly #http: HttpClient;
  readonly #registry: URL;
  readonly #scopes: readonly string[];
  readonly #credentials: Credentials | undefined;
  #challenge: Challenge | undefined;
  #token: Promise<{ header: string; expires: number }> | undefined;

  /** `registry` is its base URL; `scopes` are what tokens shall allow, like `repository:library/debian:pull`. */
  constructor(
    http: HttpClient,
    registry: URL,
    scopes: readonly string[],
    credentials: Credentials | undefined,
  ) {
    this.#http = http;
    this.#registry = registry;
    this.#scopes = scopes;
    this.#credentials = credentials;
  }

  /**
   * Takes note of what a 401 asks for.
   *
   * Throws if it asks for what cannot be given.
   */
  challenged(header: string | undefined): void {
    const challenges = parseChallenges(header ?? "");
    const challenge =
      challenges.find(({ scheme }) => scheme === "bearer") ??
      challenges.find(({ scheme }) => scheme === "basic");
    if (challenge === undefined) {
      const asked = challenges.map(({ scheme }) => scheme).join(", ") || "nothing";
      throw new Error(`${this.#registry.host} asks for ${asked}; expected Bearer or Basic`);
    }
    if (challenge.scheme === "basic" && this.#basic() === undefined) throw this.#loginNeeded();
    this.#challenge = challenge;
    this.#token = undefined;
  }

  /** The `Authorization` header to send now, `undefined` where the registry asked for none. */
  async header(signal: AbortSignal | undefined): Promise<string | undefined> {
    if (this.#challenge === undefined) return undefined;
    if (this.#challenge.scheme === "basic") return this.#basic();
    // one request for a token, however many blobs wait for it
    let pending = this.#token;
    const current = pending === undefined ? undefined : await pending;
    if (current === undefined || current.expires <= Date.now()) {
      if (this.#token === pending) {
        this.#token = this.#fetchToken(this.#challenge, signal);
        // whoever awaits it sees the failure; the next one tries again
        this.#token.catch(() => {
          this.#token = undefined;
        });
      }
      pending = this.#token;
    }
    return (await pending!).header;
  }

  #basic(): string | undefined {
    if (this.#credentials === undefined || "identityToken" in this.#credentials) return undefined;
    const { username, password } = this.#credentials;
    return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
  }

  async #fetchToken(challenge: Challenge, signal: AbortSignal | undefined) {
    const realm = challenge.parameters.get("realm") ?? "";
    if (!URL.canParse(realm))
      throw new Error(`${this.#registry.host} names no token server that can be asked`);
    const url = new URL(realm);
    if (this.#registry.protocol === "https:" && url.protocol !== "https:")
      throw new Error(`token server ${display(url)}: expected HTTPS`);

    const query = new URLSearchParams();
    const service = challenge.parameters.get("service");
    if (service !== undefined) query.set("service", service);
    const refresh =
      this.#credentials !== undefined && "identityToken" in this.#credentials
        ? this.#credentials.identityToken
        : undefined;
    if (refresh !== undefined) {
      query.set("scope", this.#scopes.join(" "));
      query.set("grant_type", "refresh_token");
      query.set("refresh_token", refresh);
      query.set("client_id", USER_AGENT.split("/")[0]!);
    } else {
      for (const [name, value] of query) url.searchParams.set(name, value);
      for (const scope of this.#scopes) url.searchParams.append("scope", scope);
    }
    const asked = Date.now();
    const response = await this.#http.send(url, {
      ...(refresh !== undefined ? { form: query } : { authorization: this.#basic() }),
      signal,
    });
    if (response.status === 401 || response.status === 403) {
      const error = await statusError(url, response);
      if (this.#credentials === undefined) throw this.#loginNeeded(error);
      throw new Error(`${this.#registry.host} does not accept the credentials`, { cause: error });
    }
    if (response.status !== 200) throw await statusError(url, response);
    let answer: { token?: unknown; access_token?: unknown; expires_in?: unknown };
    try {
      answer = JSON.parse(Buffer.from(await readBody(response, TOKEN_LIMIT)).toString()) ?? {};
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw new Error(display(url), { cause: error });
      answer = {};
    }
    const token = answer.token || answer.access_token;
    if (typeof token !== "string" || !/^[\x21-\x7e]+$/.test(token))
      throw new Error(`token server ${display(url)}: expected JSON with a token`);
    const life = typeof answer.expires_in === "number" ? answer.expires_in : TOKEN_LIFE;
    // renewed a little early, so that it does not expire on its way
    return { header: `Bearer ${token}`, expires: asked + Math.max(5, life - 10) * 1000 };
  }

  #loginNeeded(cause?: Error): Error {
    const error = new Error(`${this.#registry.host} demands a login`, { cause });
    return Object.assign(error, {
      hint: "give --creds USER:PASSWORD or --authfile FILE (as written by podman login)",
    });
  }
}
