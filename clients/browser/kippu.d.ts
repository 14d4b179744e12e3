/** Options of {@link createClient}. */
export interface ClientOptions {
  /** `POST /refresh` of the session routes, for example `/auth/refresh`. */
  refreshUrl: string | URL;
  /** `POST /logout` of the session routes, for example `/auth/logout`. */
  logoutUrl: string | URL;
  /** Tells several logins of one origin apart. The default is `kippu`. */
  name?: string;
  /** How refresh and logout send cookies. Another origin of the same site needs `include`. */
  credentials?: RequestCredentials;
  /** Sends each request, for example to log it. The default is the global `fetch`. */
  fetch?: (request: Request) => Promise<Response>;
}

/**
 * Why there is no login any more: `logout` for a call of `logout` in any tab, `ended` if the server
 * has refused to refresh, because the session has ended or this browser has none.
 */
export type LogoutReason = "logout" | "ended";

/** A login in cookies, which all tabs of an origin share. */
export interface Client {
  /**
   * Sends a request like the global `fetch`. A 401 for an expired access token is followed by one
   * refresh of all tabs and one retry, and by a retry without a refresh if another tab has
   * refreshed meanwhile. If the session has ended, the response is the 401.
   *
   * The body is kept for the retry, that of a stream too.
   *
   * Rejects with what `fetch` rejects with, for example while the browser is offline, and with a
   * {@link KippuError} if the server cannot refresh at the moment. Neither ends the login.
   */
  fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;

  /**
   * Refreshes now, or waits for the refresh of another tab. Rejects like `fetch`, and with a
   * {@link KippuError} whose `isRefusal` is true if the session has ended.
   */
  refresh(): Promise<void>;

  /**
   * Sends the application's login request while no tab refreshes: the late response to a refresh
   * would replace the cookies of the login. A 401 is returned without a refresh.
   */
  login(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;

  /**
   * Ends the session, and tells all tabs. Resolves if there is no session, too. Rejects if the
   * server does not answer or is unavailable: the login is left as it is, and the user tries again.
   */
  logout(): Promise<void>;

  /** Calls back when the login has ended. Returns a function that removes the callback. */
  onLogout(callback: (reason: LogoutReason) => void): () => void;

  /**
   * Calls back when another tab has logged in, perhaps as another user: this page has to load again
   * what it shows of the user. Returns a function that removes the callback.
   */
  onLogin(callback: () => void): () => void;
}

/** The server has answered a refresh or a logout with an error. */
export class KippuError extends Error {
  /** The status of the response. */
  readonly status: number;
  /** The error code of RFC 6749 §5.2, for example `invalid_grant`, if there is one. */
  readonly code?: string;
  /** Whether the user has to log in again. */
  readonly isRefusal: boolean;
}

/** Returns a client of the session routes. One for each page is enough. */
export function createClient(options: ClientOptions): Client;
