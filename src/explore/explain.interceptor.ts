import { type CallHandler, type ExecutionContext, Injectable, type NestInterceptor } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { defer, lastValueFrom, type Observable } from 'rxjs';
import type { ScopedRequest } from '../edge/current-scope.js';
import { assertPermission } from '../edge/scope.guard.js';
import { explained } from '../store/explaining.js';

/** `?explain=1` of a question: the answer's meta tells of its statements, to those who may administer the tenant. */
@Injectable()
export class ExplainInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const { query, principal } = context.switchToHttp().getRequest<FastifyRequest & ScopedRequest>();
    if ((query as Record<string, unknown>).explain !== '1') return next.handle();
    assertPermission(principal!.permissions, 'admin');
    return defer(() => explained(() => lastValueFrom(next.handle())));
  }
}
