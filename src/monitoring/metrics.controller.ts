import { Controller, Get, Header, Inject } from '@nestjs/common';
import { Registry } from 'prom-client';
import { Public } from '../edge/scope.guard.js';
import { ApiRoute } from '../http/api-route.js';

/** The program's own figures, for Prometheus and the like. Nothing of any tenant is in them. */
@Controller('metrics')
export class MetricsController {
  constructor(@Inject(Registry) private readonly registry: Registry) {}

  @Public()
  @ApiRoute({
    summary: "Read the program's own figures",
    contentType: 'text/plain',
  })
  @Get()
  @Header('content-type', Registry.PROMETHEUS_CONTENT_TYPE)
  metrics(): Promise<string> {
    return this.registry.metrics();
  }
}
